"""From a list with groups to lines, documents and the worst group."""

import json

import numpy as np
import pytest

from arcface_api.command import run
from support.builders.verification_set import encoded_image


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
