"""`evaluate identify` and `evaluate all-pairs` as a user sees them, beside loops over all candidates."""

import json
import os

import numpy as np
import pytest

from arcface_api.command import run
from support.builders.ijb_release import IMAGES_EACH, PERSONS, write_release
from support.builders.verification_set import corner_network, encoded_image

IMAGES = PERSONS * IMAGES_EACH
ENROLLED = {"G1": [0, 2, 4, 6, 8, 10], "G2": [1, 3, 5, 7, 9, 11]}
"""Persons of each gallery, enrolled by the first of their two templates, 10 x person."""


def status(*words):
    """Exit status of `arcface evaluate`; click ends a good command by SystemExit."""
    try:
        return run(["evaluate", *map(str, words)])
    except SystemExit as ended:
        return ended.code


@pytest.fixture
def root(tmp_path):
    folder = write_release(tmp_path)
    files = {f"gallery_{name}": [(10 * person, person) for person in persons] for name, persons in ENROLLED.items()}
    files["probe_mixed"] = [(10 * person + 1, person) for person in range(PERSONS)]
    for kind, rows in files.items():
        lines = ["TEMPLATE_ID,SUBJECT_ID", *(f"{template},{subject}" for template, subject in rows)]
        (folder / "meta" / f"ijbc_1N_{kind}.csv").write_text("\n".join(lines))
    return folder


def drawn_embeddings(seed):
    """(48, 2, 5) of persons that are not easily told apart."""
    random = np.random.default_rng(seed)
    persons = np.repeat(random.standard_normal((PERSONS, 1, 5)), IMAGES_EACH, axis=0)
    return (persons + 0.8 * random.standard_normal((IMAGES, 2, 5))).astype(np.float32)


def pooled(views):
    """Enrolled and looked for, (12, 5) each: every image is a medium by itself and has the same detector's score."""
    halves = views.astype(float).sum(axis=1).reshape(PERSONS, 2, 2, 5).sum(axis=2)
    halves /= np.linalg.norm(halves, axis=2, keepdims=True)
    return halves[:, 0], halves[:, 1]


def ranks_of(views, persons):
    enrolled, probes = pooled(views)
    scores = {p: {q: probes[p] @ enrolled[q] for q in persons} for p in range(PERSONS)}
    return {p: 1 + sum(s >= scores[p][p] for q, s in scores[p].items() if q != p) for p in persons}, scores


def test_galleries_are_searched_apart_together_and_on_average(root, tmp_path, capsys):
    views = drawn_embeddings(0)
    np.save(tmp_path / "e.npy", views)
    written = ["--json", tmp_path / "o.json", "--report", tmp_path / "page"]
    assert status("identify", "--embeddings", tmp_path / "e.npy", "--root", root, *written) == 0
    (found,) = json.loads((tmp_path / "o.json").read_text())["identification"]
    means = {"1": 0.0, "5": 0.0, "10": 0.0}
    for gallery, (name, persons) in zip(found["galleries"], ENROLLED.items(), strict=True):
        ranks, _ = ranks_of(views, persons)
        matches = {str(rank): np.mean([found <= rank for found in ranks.values()]) for rank in (1, 5, 10)}
        assert (gallery["gallery"], gallery["enrolled"], gallery["mated"], gallery["nonMated"]) == (name, 6, 6, 6)
        assert gallery["matches"] == pytest.approx(matches)
        assert gallery["unresolved"] == ["1e-1", "1e-2"]  # six searches cannot tell
        means = {rank: mean + matches[rank] / 2 for rank, mean in means.items()}
    assert found["matches"] == pytest.approx(means)
    assert 0 < found["matches"]["1"] < 1
    ranks, scores = ranks_of(views, range(PERSONS))
    assert found["joinedMatches"] == pytest.approx(
        {str(rank): np.mean([found <= rank for found in ranks.values()]) for rank in (1, 5, 10)}
    )
    others = sorted((s for p, row in scores.items() for q, s in row.items() if p != q), reverse=True)
    mates = np.array([scores[p][p] for p in range(PERSONS)])
    assert found["joinedRates"] == pytest.approx(
        {"1e-1": np.mean(mates > others[1]), "1e-2": np.mean(mates > others[0])}
    )
    shown = capsys.readouterr().out
    assert f"{100 * found['matches']['1']:.2f}" in shown
    assert "as ijb_1n.py: rank 1" in shown
    assert f"<td>{found['matches']['1']:.5f}</td>" in (tmp_path / "page" / "report.html").read_text()


def test_a_network_finds_images_that_are_all_one(root, tmp_path, monkeypatch):
    checkpoint = tmp_path / "step-00000010"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    monkeypatch.setattr("arcface_evaluator.networks.load_checkpoint", lambda *_: corner_network)
    assert status("identify", "--checkpoint", checkpoint, "--root", root, "--json", tmp_path / "o.json") == 0
    written = json.loads((tmp_path / "o.json").read_text())
    assert written["identification"][0]["joinedMatches"] == {"1": 1.0, "5": 1.0, "10": 1.0}
    assert written["protocol"]["ties"] == "beforeTheMate"
    assert {path["path"].rpartition("/")[2] for path in written["inputs"]} == {
        "manifest.json",
        "ijbc_face_tid_mid.txt",
        "ijbc_name_5pts_score.txt",
        "loose_crop",
        *(f"ijbc_1N_{kind}.csv" for kind in ("gallery_G1", "gallery_G2", "probe_mixed")),
    }


def test_as_many_embeddings_as_images_are_needed(root, tmp_path, capsys):
    np.save(tmp_path / "e.npy", np.ones((5, 4), np.float32))
    assert status("identify", "--embeddings", tmp_path / "e.npy", "--root", root) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_all_images_of_a_list_are_compared_and_each_group_by_itself(tmp_path, capsys):
    random = np.random.default_rng(1)
    labels = np.arange(400) // 4
    vectors = (random.standard_normal((100, 6))[labels] + random.standard_normal((400, 6))).astype(np.float32)
    np.save(tmp_path / "e.npy", vectors)
    lines = [f"{row}.jpg,{label},{'ab'[label % 2]}" for row, label in enumerate(labels)]
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    options = ["--embeddings", tmp_path / "e.npy", "--list", tmp_path / "faces.csv", "--json", tmp_path / "o.json"]
    assert status("all-pairs", *options) == 0
    found = json.loads((tmp_path / "o.json").read_text())["allPairs"]
    assert [each.get("group") for each in found] == [None, "a", "b"]
    for each, members in zip(found, (labels >= 0, labels % 2 == 0, labels % 2 == 1), strict=True):
        units = vectors[members].astype(float)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        scores, first = units @ units.T, np.triu_indices(len(units), k=1)
        is_same = (labels[members] == labels[members][:, None])[first]
        impostors = np.sort(scores[first][~is_same])[::-1]
        assert (each["genuine"], each["impostors"]) == (is_same.sum(), len(impostors))
        told = [far for far in ("1e-6", "1e-5", "1e-4") if far not in each["unresolved"]]
        assert told == [far for far in ("1e-6", "1e-5", "1e-4") if float(far) * len(impostors) >= 1]
        for far in told:
            threshold = impostors[int(float(far) * len(impostors))]
            assert each["tarAtFar"][far] == pytest.approx(np.mean(scores[first][is_same] > threshold))
            assert each["thresholds"][far] == pytest.approx(threshold, abs=1e-11)
    assert "all against all" in capsys.readouterr().out


def test_a_group_of_one_kind_of_pairs_is_told_and_the_others_are_judged(tmp_path, capsys, caplog):
    np.save(tmp_path / "e.npy", np.random.default_rng(2).standard_normal((10, 6)).astype(np.float32))
    lines = [
        f"{row}.jpg,{label},{group}" for row, (label, group) in enumerate(zip("1122334555", "aaaabbbbcc", strict=True))
    ]
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    options = ["--embeddings", tmp_path / "e.npy", "--list", tmp_path / "faces.csv", "--json", tmp_path / "o.json"]
    assert status("all-pairs", *options) == 0
    found = {each.get("group"): each for each in json.loads((tmp_path / "o.json").read_text())["allPairs"]}
    assert [(group, each["genuine"], each["impostors"]) for group, each in found.items()] == [
        (None, 6, 39),
        ("a", 2, 4),
        ("b", 1, 5),
        ("c", 1, 0),
    ]
    assert found["c"]["unresolved"] == ["1e-6", "1e-5", "1e-4"]
    assert found["c"]["tarAtFar"] == {}
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == (
        "faces: group c: its rates are unknown: 1 pairs of images have one label and 0 two: there must be both"
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["c", "2", "1", "1", "0", "-", "-", "-"] in rows


@pytest.fixture
def listed(tmp_path):
    """Words of a command without a checkpoint's network, of which nothing may be asked: eight images, a list."""
    (tmp_path / "images").mkdir()
    for row in range(8):
        (tmp_path / "images" / f"{row}.png").write_bytes(encoded_image(row // 2))
    (tmp_path / "faces.csv").write_text("\n".join(f"{row}.png,{row // 2}" for row in range(8)))
    (tmp_path / "step-00000010").mkdir()
    (tmp_path / "step-00000010" / "manifest.json").write_text("{}")
    words = ["all-pairs", "--checkpoint", tmp_path / "step-00000010", "--list", tmp_path / "faces.csv"]
    return [*words, "--images", tmp_path / "images"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "6.png: cannot be read (No such file or directory)"),
        (b"no image", "6.png: does not decode"),
        (encoded_image(1, 40, 40), "6.png: the image is 40x40 and not 112x112"),
    ],
)
def test_an_image_of_a_list_that_cannot_be_used_is_told_before_the_network_is_loaded(
    tmp_path, listed, capsys, content, said
):
    image = tmp_path / "images" / "6.png"
    image.unlink()
    if content is not None:
        image.write_bytes(content)
    assert status(*listed) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("label", "said"), [("1", "6 pairs of images have one label and 0 two"), ("{row}", "0 pairs")])
def test_a_list_without_both_kinds_of_pairs_is_refused_before_the_network_is_loaded(
    tmp_path, listed, capsys, label, said
):
    (tmp_path / "faces.csv").write_text("\n".join(f"{row}.png,{label.format(row=row)}" for row in range(4)))
    assert status(*listed) == 2
    assert f"faces.csv: {said}" in capsys.readouterr().err


def test_links_of_a_lists_images_lead_out_where_that_is_allowed(tmp_path, listed, capsys, monkeypatch):
    monkeypatch.setattr("arcface_evaluator.networks.load_checkpoint", lambda *_: corner_network)
    (tmp_path / "images" / "6.png").rename(tmp_path / "elsewhere.png")
    (tmp_path / "images" / "6.png").symlink_to(tmp_path / "elsewhere.png")
    assert status(*listed) == 2
    assert "6.png: leads out of" in capsys.readouterr().err
    assert status(*listed, "--links", "anywhere") == 0


def test_a_checkpoint_may_have_a_name_that_is_no_text(tmp_path, listed, monkeypatch):
    monkeypatch.setattr("arcface_evaluator.networks.load_checkpoint", lambda *_: corner_network)
    listed[2] = listed[2].rename(tmp_path / os.fsdecode(b"step-\xe9"))
    assert status(*listed, "--json", tmp_path / "o.json") == 0
    assert json.loads((tmp_path / "o.json").read_text())["checkpoint"] == str(tmp_path) + r"/step-\udce9"


def test_images_of_a_list_are_embedded_by_a_network(tmp_path, monkeypatch):
    for row in range(8):
        (tmp_path / f"{row}.png").write_bytes(encoded_image(row // 2))
    (tmp_path / "faces.csv").write_text("\n".join(f"{row}.png,{row // 2}" for row in range(8)))
    checkpoint = tmp_path / "step-00000010"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    monkeypatch.setattr("arcface_evaluator.networks.load_checkpoint", lambda *_: corner_network)
    options = ["--checkpoint", checkpoint, "--list", tmp_path / "faces.csv"]
    assert status("all-pairs", *options, "--images", tmp_path, "--json", tmp_path / "o.json") == 0
    assert json.loads((tmp_path / "o.json").read_text())["allPairs"][0]["genuine"] == 4
    assert status("all-pairs", *options) == 2  # where are the images?
