"""A checkpoint as the trainer writes it, evaluated through the command."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from arcface_api.command import run
from arcface_api.errors import InvalidInput
from arcface_evaluator.networks import load_checkpoint
from arcface_faces.checkpoint import checkpoint_folder
from arcface_faces.embedding.embedder import embed
from support.builders.checkpoints import write_checkpoint
from support.builders.verification_set import Shown, noise_image, write_pairs


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder with one complete checkpoint of an untrained network and a newer one without its manifest."""
    directory: Path = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(directory)
    (directory / "step-00000020").mkdir()
    return directory


def test_newest_complete_checkpoint_of_a_folder_is_taken(checkpoints):
    assert checkpoint_folder(checkpoints) == checkpoints / "step-00000010"
    assert checkpoint_folder(checkpoints / "step-00000010") == checkpoints / "step-00000010"


def test_folder_without_a_complete_checkpoint_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="holds no complete checkpoint"):
        checkpoint_folder(tmp_path)
    with pytest.raises(InvalidInput, match="is no folder"):
        checkpoint_folder(tmp_path / "none")


def test_embeddings_of_a_network_do_not_depend_on_the_batch_size(checkpoints):
    network = load_checkpoint(checkpoint_folder(checkpoints))
    images = [noise_image(seed) for seed in range(5)]
    small, large = (embed(Shown(images), network, batch_size) for batch_size in (2, 8))
    assert small.shape == (5, 2, 16)
    np.testing.assert_allclose(small, large, rtol=1e-4, atol=1e-5)


def test_command_evaluates_a_checkpoint(checkpoints, tmp_path, capsys):
    bin_file, written = write_pairs(tmp_path / "lfw.bin", pairs=10), tmp_path / "out.json"
    options = ["--checkpoint", checkpoints, "--bin", bin_file, "--json", written, "--batch-size", "8"]
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "pairs", *map(os.fspath, options)])
    norm_line, accuracy_line = capsys.readouterr().out.splitlines()
    assert norm_line.startswith("[lfw]XNorm: ")
    assert accuracy_line.startswith("[lfw]Accuracy-Flip: ")
    document = json.loads(written.read_text())
    assert document["checkpoint"] == str(checkpoints / "step-00000010")
    assert document["results"][0]["pairs"] == 10
    assert [Path(file["path"]).name for file in document["inputs"]] == ["lfw.bin", "manifest.json"]
