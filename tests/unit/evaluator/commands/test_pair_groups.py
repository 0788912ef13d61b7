"""From a list with groups to lines, documents and the worst group."""

import json
import os

import numpy as np
import pytest

from arcface_api.command import run
from arcface_faces.pairs.pair_set import read_pair_set
from support.builders.verification_set import encoded_image, write_pairs, write_set


def test_groups_go_from_the_list_to_the_lines_and_the_document(tmp_path, capsys):
    """Even pairs are genuine; the embeddings confuse all genuine pairs of one group."""
    rows = ["first,second,same,group"]
    embeddings = np.random.default_rng(0).standard_normal((80, 64)).astype(np.float32)
    for pair in range(40):
        group = "Indian" if pair < 8 else "Asian"
        rows.append(f"{2 * pair}.png,{2 * pair + 1}.png,{(pair + 1) % 2},{group}")
        if group == "Asian" and pair % 2 == 0:
            embeddings[2 * pair] = embeddings[2 * pair + 1]
    for number in range(80):
        (tmp_path / f"{number}.png").write_bytes(encoded_image(number))
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    np.save(tmp_path / "e.npy", embeddings)
    made = ["--list", tmp_path / "pairs.csv", "--images", tmp_path, "-o", tmp_path / "rfw.bin"]
    judged = ["--embeddings", tmp_path / "e.npy", "--bin", tmp_path / "rfw.bin", "--json", tmp_path / "rfw.json"]
    for words in (["pairs", "make", *made], ["evaluate", "pairs", *judged]):
        with pytest.raises(SystemExit, match="0"):
            run([str(word) for word in words])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("[rfw]Indian: 0.50000, 95 % 0.15701 to 0.84299, the worst group") for line in lines)
    assert any(line.startswith("[rfw]Asian: 1.00000, 95 % 0.89112 to 1.00000") for line in lines)
    written = json.loads((tmp_path / "rfw.json").read_text())
    assert [group["group"] for group in written["figures"][0]["groups"]] == ["Indian", "Asian"]
    assert str(tmp_path / "rfw.groups") in [entry["path"] for entry in written["inputs"]]


def test_sets_are_joined_to_one_of_groups_fold_by_fold(tmp_path, capsys):
    write_pairs(tmp_path / "African.bin", pairs=20)
    wrong = [encoded_image(seed) for seed in range(1000, 1060)]  # pairs of one person that look like two
    write_set(tmp_path / "Indian.bin", wrong, [True, False, False] * 10)
    made = ["pairs", "join", tmp_path / "African.bin", tmp_path / "Indian.bin", "-o", tmp_path / "rfw.bin"]
    with pytest.raises(SystemExit, match="0"):
        run([str(word) for word in made])
    assert (tmp_path / "rfw.groups").read_text().split() == (["African"] * 2 + ["Indian"] * 3) * 10
    whole = read_pair_set(tmp_path / "rfw.bin")
    assert whole.is_same.tolist() == [True, False, True, False, False] * 10
    for name, places in {"African": (0, 1), "Indian": (2, 3, 4)}.items():
        alone = read_pair_set(tmp_path / f"{name}.bin")
        expected = [5 * fold + place for fold in range(10) for place in places]
        for pair, place in enumerate(expected):
            for side in (0, 1):
                assert whole.stored_image(2 * place + side)[0] == alone.stored_image(2 * pair + side)[0]
    capsys.readouterr()
    assert run([str(word) for word in made]) == 2
    assert "exists already" in capsys.readouterr().err


def test_groups_of_other_pairs_are_told_before_anything_is_embedded(tmp_path, capsys):
    write_pairs(tmp_path / "good.bin", pairs=20)
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    (tmp_path / "lfw.groups").write_text("x\n" * 19)
    np.save(tmp_path / "e.npy", np.eye(40, dtype=np.float32))
    judged = ["--embeddings", tmp_path / "e.npy", "--embeddings", tmp_path / "e.npy", "--bin", tmp_path / "good.bin"]
    for words in (["pairs", *judged, tmp_path / "lfw.bin"], ["check", tmp_path / "good.bin", tmp_path / "lfw.bin"]):
        assert run(["evaluate", *map(str, words)]) == 2
        told = capsys.readouterr()
        assert "lfw.groups: has 19 lines for the 20 pairs of lfw.bin" in told.err
        assert told.out == ""  # the good set was not begun with


def test_names_of_files_that_are_no_text_are_told_of_as_they_can_be(tmp_path):
    np.save(tmp_path / "e.npy", np.eye(40, dtype=np.float32))
    sets = [tmp_path / os.fsdecode(name) for name in (b"f\xfcr.bin", b"\xe9.bin")]
    for path in sets:
        write_pairs(path, pairs=20)
    judged = ["--embeddings", tmp_path / "e.npy", "--bin", sets[0], "--json", tmp_path / "o.json"]
    for words in (["evaluate", "pairs", *judged], ["pairs", "join", *sets, "-o", tmp_path / "all.bin"]):
        with pytest.raises(SystemExit, match="0"):
            run([str(word) for word in words])
    assert json.loads((tmp_path / "o.json").read_text())["results"][0]["dataset"] == r"f\udcfcr"
    assert set((tmp_path / "all.groups").read_text().split()) == {r"f\udcfcr", r"\udce9"}


def test_a_set_with_groups_is_not_joined(tmp_path, capsys):
    for name in ("a", "b"):
        write_pairs(tmp_path / f"{name}.bin", pairs=20)
    (tmp_path / "b.groups").write_text("x\n" * 20)
    assert run(["pairs", "join", *(str(tmp_path / f"{name}.bin") for name in "ab"), "-o", str(tmp_path / "c.bin")]) == 2
    assert "has groups already" in capsys.readouterr().err
    assert not (tmp_path / "c.bin").exists()
