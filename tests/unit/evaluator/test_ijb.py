"""Templates and rates against cases computed by hand and by the reference's own functions."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from arcface_api.command import run
from arcface_api.errors import InvalidInput
from arcface_evaluator.metrics import error_rates
from arcface_evaluator.protocols import templates
from arcface_evaluator.protocols.template_pairs import (
    TemplatePairs,
    _scores_by_blocks,
    _scores_by_fetching,
    judge_choices,
    ordered_scores,
    plan_pairs,
)
from arcface_evaluator.protocols.templates import ALL_CHOICES, PoolingChoice, Templates, pool
from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.verifying import verify_release
from arcface_faces.scores import Scores

# Case J1: five images (original, mirrored), templates 7 and 9, two frames of one medium in template 7.
VIEWS = np.array(
    [[[3, 4], [1, 0]], [[0, 2], [2, 0]], [[2, 0], [0, 2]], [[1, 1], [1, 1]], [[0, 5], [0, 0]]], dtype=np.float32
)
SCORES = np.array([0.9, 0.5, 1, 0.8, 0.6])
TEMPLATES = Templates(np.array([7, 9]), np.array([0, 0, 0, 1, 1]), np.array([1, 1, 2, 3, 4]))
PAIR = TemplatePairs(np.array([0], dtype=np.int32), np.array([1], dtype=np.int32), np.array([True]))


@pytest.mark.parametrize(
    ("protocol", "score", "seven", "nine"),
    [
        (PoolingChoice(True, True, True), 0.90015925, (0.707107, 0.707107), (0.328521, 0.944497)),
        (PoolingChoice(True, False, True), 0.87415728, (0.707107, 0.707107), (0.274721, 0.961524)),
        (PoolingChoice(False, True, False), 0.78306542, (0.901412, 0.432962), (0.436589, 0.899661)),
        (PoolingChoice(False, False, True), 0.92387953, (0.707107, 0.707107), (0.382683, 0.923880)),
    ],
)
def test_templates_of_the_reference_case(protocol, score, seven, nine):
    (vectors,) = pool(VIEWS, SCORES, TEMPLATES, [protocol])
    assert vectors == pytest.approx(np.array([seven, nine]), abs=1e-6)
    assert ordered_scores(vectors, plan_pairs(PAIR)) == pytest.approx([score], abs=1e-8)


def test_the_order_of_images_and_the_company_of_other_protocols_change_nothing():
    order = np.array([4, 2, 0, 3, 1])
    shuffled = Templates(TEMPLATES.ids, TEMPLATES.template[order], TEMPLATES.media[order])
    together = pool(VIEWS[order], SCORES[order], shuffled, ALL_CHOICES)
    for protocol, vectors in zip(ALL_CHOICES, together, strict=True):
        assert vectors == pytest.approx(pool(VIEWS, SCORES, TEMPLATES, [protocol])[0], abs=1e-12)


def test_blocks_of_images_do_not_cut_templates(monkeypatch):
    monkeypatch.setattr("arcface_evaluator.protocols.templates.IMAGE_BLOCK", 2)
    (vectors,) = pool(VIEWS, SCORES, TEMPLATES, [PoolingChoice()])
    assert vectors[1] == pytest.approx([0.328521, 0.944497], abs=1e-6)


def test_a_host_of_many_cores_has_no_more_memory_taken(monkeypatch):
    started = []

    class Noted(ThreadPoolExecutor):
        def __init__(self, threads, **named):
            started.append(threads)
            super().__init__(threads, **named)

    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    for module in (templates, error_rates):
        monkeypatch.setattr(module, "ThreadPoolExecutor", Noted)
    pool(VIEWS, SCORES, TEMPLATES, [PoolingChoice()])
    error_rates.error_curve(Scores(np.array([0.9, 0.1]), np.array([True, False])))
    assert started == [8, 8]


def test_a_template_of_zeros_stays_zero():
    (vectors,) = pool(np.zeros((5, 2, 2), np.float32), SCORES, TEMPLATES, [PoolingChoice(keep_norm=False)])
    assert not vectors.any()


def test_both_ways_of_scoring_agree_with_single_products():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((40, 8))
    first, second = (random.integers(0, 40, 900, dtype=np.int32) for _ in range(2))
    plan = plan_pairs(TemplatePairs(first, second, first == second))
    expected = np.array([vectors[a] @ vectors[b] for a, b in zip(first, second, strict=True)])
    assert _scores_by_blocks(vectors, plan) == pytest.approx(expected[plan.order], abs=1e-12)
    assert _scores_by_fetching(vectors, plan) == pytest.approx(expected[plan.order], abs=1e-12)


def test_each_choice_is_judged_once_and_the_first_ones_scores_are_in_the_order_of_the_pairs():
    random = np.random.default_rng(1)
    views = random.standard_normal((90, 2, 8)).astype(np.float32)
    confidence, members = random.uniform(0.5, 1, 90), Templates(np.arange(30), np.arange(90) % 30, np.arange(90) // 40)
    first, second = (random.integers(0, 30, 200, dtype=np.int32) for _ in range(2))
    plan = plan_pairs(TemplatePairs(first, second, first == second))
    for choices in (ALL_CHOICES, ALL_CHOICES[4:7], ALL_CHOICES[:1]):
        sums, scores = judge_choices(views, confidence, members, plan, choices, judge=np.sum)
        vectors = [pool(views, confidence, members, [choice])[0] for choice in choices]
        expected = [np.array([each[a] @ each[b] for a, b in zip(first, second, strict=True)]) for each in vectors]
        assert sums == pytest.approx([each.sum() for each in expected], abs=1e-9)
        assert scores == pytest.approx(expected[0], abs=1e-12)


def test_real_faces_give_the_rates_of_the_known_model(faces: Path):
    root, stored = faces / "IJB_release" / "IJBC", np.load(faces / "sface" / "sface_ijb.npy")
    expected = json.loads((faces / "sface" / "expected_sface.json").read_text())["ijb"]
    results = verify_release(open_ijb(root), stored[:, None]).choices
    assert len(results) == len(expected) == 4
    for result in results:
        protocol, rates = result.choice, {rate.far: rate for rate in result.rates}
        row = expected[f"keep_norm={protocol.keep_norm},detector_score={protocol.detector_score}"]
        for far, nearest, conservative in zip(row["far"], row["tar_nearest"], row["tar_conservative"], strict=True):
            assert rates[far].nearest == pytest.approx(nearest, abs=1e-9)
            assert rates[far].conservative == pytest.approx(conservative, abs=1e-9)
        assert rates[1e-6].nearest is None  # 40,000 impostors cannot tell


MEMBERS = "1.jpg 7 1\n2.jpg 7 1\n3.jpg 7 2\n4.jpg 9 3\n5.jpg 9 4\n"
POINTS = " ".join(["50"] * 10)
MARKS = "".join(f"{n}.jpg {POINTS} 0.9\n" for n in range(1, 6))
PAIRS = "7 9 1\n9 7 0\n"


@pytest.fixture
def release(tmp_path):
    def write(members=MEMBERS, marks=MARKS, pairs=PAIRS, name="IJBC"):
        root = tmp_path / name
        (root / "meta").mkdir(parents=True)
        contents = {"face_tid_mid": members, "name_5pts_score": marks, "template_pair_label": pairs}
        for kind, text in contents.items():
            (root / "meta" / f"{name.lower()}_{kind}.txt").write_text(text)
        np.save(tmp_path / "e.npy", VIEWS)
        return root

    return write


def test_a_release_is_read_row_by_row(release):
    opened = open_ijb(release())
    assert (opened.name, opened.images[2], opened.templates.ids.tolist()) == ("IJBC", "3.jpg", [7, 9])
    assert opened.templates.media.tolist() == [1, 1, 2, 3, 4]
    assert (opened.pairs.first.tolist(), opened.pairs.is_same.tolist()) == ([0, 1], [True, False])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"marks": MARKS.replace("3.jpg", "8.jpg")}, "disagree in line 3: 3.jpg and 8.jpg"),
        ({"marks": MARKS + f"6.jpg {POINTS} 0.9\n"}, "have 5 and 6 lines"),
        ({"members": MEMBERS.replace("4.jpg 9 3", "4.jpg 9")}, "line 4: 2 fields; it must have 3"),
        ({"members": MEMBERS.replace("4.jpg 9 3", "4.jpg x 3")}, "line 4: template 'x' is no whole number"),
        ({"members": ""}, "is empty"),
        ({"marks": MARKS.replace("0.9", "nan", 1)}, "line 1: holds nan"),
        ({"marks": MARKS.replace("0.9\n2", "0.9\n\n2")}, "line 2: 0 fields; it must have 12"),
        ({"marks": MARKS[::-1].replace("9.0", "hgih", 1)[::-1]}, "line 5: holds 'high'; landmarks and scores are num"),
        ({"pairs": "7 9 1\n7 8 0\n"}, "line 2: template 8 has no images"),
        ({"pairs": "\n7 9 1\n\n \n7 8 0\n"}, "line 5: template 8 has no images"),
        ({"pairs": "7 9 1\n\n\n7 9 2\n"}, "line 4: label 2; it must be 0 or 1"),
        ({"pairs": "7 9 2\n"}, "line 1: label 2"),
        ({"pairs": "7 9\n"}, "a line is 'template template label'"),
        ({"pairs": "7 9 0\n7 x 1\n"}, "line 2: '7 x 1'; a line is 'template template label'"),
        ({"pairs": "7 9 0\n7 9 1.0\n"}, "line 2: '7 9 1.0'; a line is 'template template label'"),
        ({"pairs": "7 9 0\n7 9.5 1\n"}, "line 2: '7 9.5 1'"),
        ({"pairs": f"7 9 {10**30}\n"}, "line 1"),
        ({"pairs": ""}, "a line is 'template template label'"),
        ({"pairs": "7 9 1\n"}, "1 pairs are of one person and 0 of two; there must be both"),
    ],
)
def test_a_bad_release_is_one_line(release, tmp_path, capsys, changes, said):
    status = run(["evaluate", "ijb", "--embeddings", str(tmp_path / "e.npy"), "--root", str(release(**changes))])
    output = capsys.readouterr()
    assert (status, output.err.count("\n")) == (2, 1)
    assert said in output.err


@pytest.mark.parametrize(
    ("name", "called"), [("ijbb", "IJBB"), ("IJBC", "IJBC"), ("tinyface", "tinyface"), ("my set.v2", "my set.v2")]
)
def test_the_name_of_a_set_is_that_of_its_files(release, name, called):
    root = release(name=name)
    assert open_ijb(root.rename(root.parent / "unpacked")).name == called


def test_a_folder_with_two_sets_is_refused(release):
    root = release()
    (root / "meta" / "ijbb_face_tid_mid.txt").write_text(MEMBERS)
    with pytest.raises(
        InvalidInput, match=r"holds ijbb_face_tid_mid\.txt, ijbc_face_tid_mid\.txt; --root is one set's"
    ):
        open_ijb(root)


def test_only_a_set_of_ones_own_may_have_no_landmarks(release):
    mine, published = release(name="mine"), release(name="IJBC")
    (mine / "meta" / "mine_name_5pts_score.txt").unlink()
    (published / "meta" / "ijbc_name_5pts_score.txt").unlink()
    opened = open_ijb(mine)
    assert (opened.points, opened.scores.tolist(), len(opened.files)) == (None, [1.0] * 5, 2)
    with pytest.raises(InvalidInput, match=r"ijbc_name_5pts_score\.txt"):
        open_ijb(published)


def test_a_missing_release_says_what_root_is(tmp_path):
    with pytest.raises(InvalidInput, match="--root is the folder with meta/"):
        open_ijb(tmp_path / "IJBB")


def test_rows_that_are_not_finite_are_named(release, tmp_path, capsys):
    root, views = release(), VIEWS.copy()
    views[3, 1, 0] = np.nan
    np.save(tmp_path / "e.npy", views)
    assert run(["evaluate", "ijb", "--embeddings", str(tmp_path / "e.npy"), "--root", str(root)]) == 2
    assert "row 3 holds a NaN" in capsys.readouterr().err
