"""ONNX files: how images are prepared is declared once, and batches are what the file takes."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from arcface_api.command import run
from support.builders.onnx_model import corner_model
from support.builders.verification_set import corner_network, write_pairs

PREPARED = {"channels": "RGB", "mean": 127.5, "scale": 1.0, "height": 112, "width": 112}
BY_HAND = ("--mean", "127.5", "--scale", "1")


@pytest.fixture
def bin_file(tmp_path):
    return write_pairs(tmp_path / "set.bin", pairs=25)


def judged(tmp_path, *words):
    answer = tmp_path / "answer.json"
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "pairs", *map(str, words), "--json", str(answer)])
    written = json.loads(answer.read_text())
    return written["results"], written["details"]


def refused(capsys, *words):
    assert run(["evaluate", "pairs", *map(str, words)]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    return output.err


@pytest.fixture
def expected(tmp_path, bin_file):
    """The same network's embeddings, judged without any model."""
    from arcface_faces.embedding.embedder import embed  # noqa: PLC0415
    from arcface_faces.pairs.pair_set import read_pair_set  # noqa: PLC0415

    np.save(tmp_path / "corner.npy", embed(read_pair_set(bin_file), corner_network, batch_size=8))
    return judged(tmp_path, "--embeddings", tmp_path / "corner.npy", "--bin", bin_file)


@pytest.mark.parametrize("batch", ["N", 1, 4, 64])
def test_a_model_gives_what_its_network_gives_whatever_batch_it_takes(tmp_path, bin_file, expected, batch):
    model = corner_model(tmp_path / "corner.onnx", batch)
    assert judged(tmp_path, "--model", model, *BY_HAND, "--bin", bin_file) == expected


def test_a_file_that_says_how_images_are_prepared_needs_no_word(tmp_path, bin_file, expected):
    model = corner_model(tmp_path / "corner.onnx", metadata=json.dumps(PREPARED))
    assert judged(tmp_path, "--model", model, "--bin", bin_file) == expected


def test_channels_are_given_in_the_declared_order(tmp_path, bin_file, expected):
    model = corner_model(tmp_path / "corner.onnx", reverse=True)
    assert judged(tmp_path, "--model", model, *BY_HAND, "--channels", "BGR", "--bin", bin_file) == expected


def test_preparation_is_never_guessed_nor_overruled(tmp_path, bin_file, capsys):
    silent = corner_model(tmp_path / "silent.onnx")
    assert "give --mean, --scale and --channels" in refused(capsys, "--model", silent, "--bin", bin_file)
    assert "--mean and --scale together" in refused(capsys, "--model", silent, "--mean", "1", "--bin", bin_file)
    telling = corner_model(tmp_path / "telling.onnx", metadata=json.dumps(PREPARED))
    other = ("--mean", "0", "--scale", "1")
    assert "says itself" in refused(capsys, "--model", telling, *other, "--bin", bin_file)
    broken = corner_model(tmp_path / "broken.onnx", metadata='{"mean": 1, "scale": 0}')
    assert "scale" in refused(capsys, "--model", broken, "--bin", bin_file)


def test_what_is_no_model_or_takes_something_else_is_one_line(tmp_path, bin_file, capsys):
    (tmp_path / "text.onnx").write_text("no model")
    said = refused(capsys, "--model", tmp_path / "text.onnx", *BY_HAND, "--bin", bin_file)
    assert "onnxruntime cannot load it" in said
    assert "cannot be read" in refused(capsys, "--model", tmp_path / "none.onnx", *BY_HAND, "--bin", bin_file)
    large = corner_model(tmp_path / "large.onnx", side=224)
    assert "(N, 3, 112, 112)" in refused(capsys, "--model", large, *BY_HAND, "--bin", bin_file)


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_a_model_that_breaks_at_the_batch_is_one_line(tmp_path, bin_file, capfd, ranks):
    model = onnx.load(corner_model(tmp_path / "broken.onnx", metadata=json.dumps(PREPARED)))
    flat = next(value for value in model.graph.initializer if value.name == "flat")
    flat.CopyFrom(numpy_helper.from_array(np.array([1, 147], np.int64), "flat"))  # says any batch, takes one
    onnx.save(model, tmp_path / "broken.onnx")
    command = ["--model", tmp_path / "broken.onnx", "--bin", bin_file, "--ranks", ranks]
    assert run(["evaluate", "pairs", *map(str, command)]) == 2
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("arcface evaluate")]
    assert len(told) == 1
    assert "broken.onnx: takes no float32 images" in told[0]


@pytest.mark.parametrize("words", [("--mean", "nan", "--scale", "1"), ("--mean", "0", "--scale", "0")])
def test_numbers_that_prepare_nothing_are_refused(tmp_path, bin_file, capsys, words):
    model = corner_model(tmp_path / "plain.onnx")
    assert run(["evaluate", "pairs", "--model", str(model), "--bin", str(bin_file), *words]) == 2
    assert "both must be finite and --scale above 0" in capsys.readouterr().err
