"""ONNX files: how images are prepared is declared once, and batches are what the file takes."""

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from arcface_api.command import run
from support.builders.onnx_model import WEIGHTS, corner_model, with_weights_beside
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


def inputs_of(tmp_path):
    return {
        Path(file["path"]).name: file["sha256"] for file in json.loads((tmp_path / "answer.json").read_text())["inputs"]
    }


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


def test_sides_may_be_free(tmp_path, bin_file, expected):
    model = corner_model(tmp_path / "free.onnx", side="side")
    assert judged(tmp_path, "--model", model, *BY_HAND, "--bin", bin_file) == expected


def test_weights_beside_the_model_are_found_from_anywhere_and_hashed(tmp_path, bin_file, expected, monkeypatch):
    (tmp_path / "model").mkdir()
    model = with_weights_beside(corner_model(tmp_path / "model" / "corner.onnx"), "data/corner.data")
    (tmp_path / "model" / "data").mkdir()
    (tmp_path / "model" / "data" / "corner.data").write_bytes(WEIGHTS)
    monkeypatch.chdir("/")
    assert judged(tmp_path, "--model", model, *BY_HAND, "--bin", bin_file) == expected
    assert inputs_of(tmp_path)["corner.data"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert inputs_of(tmp_path).keys() == {"set.bin", "corner.onnx", "corner.data"}


@pytest.mark.parametrize("place", ["../secret.data", "/etc/hostname", "link.data", "a/../../secret.data"])
def test_weights_never_lie_outside_of_the_models_folder(tmp_path, bin_file, capsys, place):
    (tmp_path / "model").mkdir()
    (tmp_path / "secret.data").write_bytes(WEIGHTS)
    (tmp_path / "model" / "link.data").symlink_to(tmp_path / "secret.data")
    model = with_weights_beside(corner_model(tmp_path / "model" / "corner.onnx"), place)
    assert "names weights outside of its folder" in refused(capsys, "--model", model, *BY_HAND, "--bin", bin_file)


def test_missing_weights_are_named(tmp_path, bin_file, capsys):
    model = with_weights_beside(corner_model(tmp_path / "corner.onnx"), "none.data")
    assert "its weights are missing: put 'none.data' beside it" in refused(
        capsys, "--model", model, *BY_HAND, "--bin", bin_file
    )


@pytest.mark.parametrize("outputs", [("embedding", "norm"), ("norm", "embedding")])
def test_of_several_outputs_none_is_guessed(tmp_path, bin_file, expected, capsys, outputs):
    model = corner_model(tmp_path / "two.onnx", outputs=outputs)
    said = refused(capsys, "--model", model, *BY_HAND, "--bin", bin_file)
    assert "has several outputs" in said
    assert "norm: tensor(float) ['N', 1]" in said
    assert "--output NAME" in said
    named = ("--model", model, *BY_HAND, "--output")
    assert judged(tmp_path, *named, "embedding", "--bin", bin_file) == expected
    assert "one number an image and no embedding" in refused(capsys, *named, "norm", "--bin", bin_file)
    assert "has no output 'emb'" in refused(capsys, *named, "emb", "--bin", bin_file)


def test_one_number_an_image_is_no_embedding(tmp_path, bin_file, capsys):
    model = corner_model(tmp_path / "norm.onnx", outputs=["norm"])
    assert "no embedding" in refused(capsys, "--model", model, *BY_HAND, "--bin", bin_file)


def test_pixels_far_from_what_networks_take_are_worth_a_hint(tmp_path, bin_file, caplog):
    model = corner_model(tmp_path / "corner.onnx")
    judged(tmp_path, "--model", model, "--mean", "127.5", "--scale", "127.5", "--bin", bin_file)
    judged(tmp_path, "--model", model, "--mean", "127.5", "--scale", "128", "--bin", bin_file)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    judged(tmp_path, "--model", model, "--mean", "0", "--scale", "1", "--bin", bin_file)
    assert "takes pixels prepared as 0 to 255" in caplog.text


@pytest.mark.parametrize("words", [("--mean", "nan", "--scale", "1"), ("--mean", "0", "--scale", "0")])
def test_numbers_that_prepare_nothing_are_refused(tmp_path, bin_file, capsys, words):
    model = corner_model(tmp_path / "plain.onnx")
    assert run(["evaluate", "pairs", "--model", str(model), "--bin", str(bin_file), *words]) == 2
    assert "both must be finite and --scale above 0" in capsys.readouterr().err
