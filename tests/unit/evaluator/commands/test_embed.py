"""Embeddings of images wherever they lie, with their names, and nothing half-written."""

import csv
import json
import os

import numpy as np
import pytest

from arcface_api.command import run
from arcface_faces.images import TEMPLATE
from arcface_faces.records.files import RecordWriter
from support.builders.onnx_model import corner_model
from support.builders.verification_set import corner_network, encoded_image, noise_image, write_pairs

PREPARED = {"channels": "RGB", "mean": 127.5, "scale": 1.0}


@pytest.fixture
def model(tmp_path):
    return corner_model(tmp_path / "m.onnx", metadata=json.dumps(PREPARED))


@pytest.fixture
def images(tmp_path):
    for number, name in enumerate(["b.png", "sub dir/a.png", "sub dir/c.png"]):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded_image(number))
    return tmp_path / "images"


def status(*words):
    try:
        return run(["embed", *map(str, words)])
    except SystemExit as ended:
        return ended.code


def embedded(tmp_path, *words):
    assert status(*words, "-o", tmp_path / "out.npy") == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        return np.load(tmp_path / "out.npy"), list(csv.reader(file))


def refused(capsys, *words):
    assert status(*words) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    return output.err


def expected(*seeds):
    shown = np.stack([noise_image(seed) for seed in seeds]).transpose(0, 3, 1, 2)
    return np.stack([corner_network(shown), corner_network(shown[..., ::-1])], axis=1)


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_images_of_a_folder_in_the_order_of_their_names(tmp_path, model, images, ranks):
    found, names = embedded(tmp_path, "--model", model, "--images", images, "--ranks", ranks, "--batch-size", "2")
    np.testing.assert_array_equal(found, expected(0, 1, 2))
    assert names == [["image"], ["b.png"], ["sub dir/a.png"], ["sub dir/c.png"]]


def test_images_of_a_list_in_its_order(tmp_path, model, images):
    (tmp_path / "list.txt").write_text(f"images/sub dir/c.png\n\n{images}/b.png\n")
    found, names = embedded(tmp_path, "--model", model, "--images", tmp_path / "list.txt")
    np.testing.assert_array_equal(found, expected(2, 0))
    assert names == [["image"], ["images/sub dir/c.png"], [f"{images}/b.png"]]


def test_images_of_a_verification_set_serve_as_its_embeddings(tmp_path, model):
    bin_file = write_pairs(tmp_path / "set.bin", 10)
    found, names = embedded(tmp_path, "--model", model, "--bin", bin_file)
    assert found.shape == (20, 2, 147)
    assert names[:3] == [["image"], ["0"], ["1"]]
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "pairs", "--embeddings", str(tmp_path / "out.npy"), "--bin", str(bin_file)])


def test_images_of_records_have_their_identities(tmp_path, model):
    with RecordWriter(tmp_path / "set") as writer:
        for seeds in ([1], [2, 3]):
            writer.start_identity()
            for seed in seeds:
                writer.add(encoded_image(seed))
    found, names = embedded(tmp_path, "--model", model, "--records", tmp_path / "set")
    np.testing.assert_array_equal(found, expected(1, 2, 3))
    assert names == [["image", "identity"], ["1", "0"], ["2", "1"], ["3", "1"]]


def test_images_of_identities_folders_have_their_identities(tmp_path, model, images):
    (images / "b.png").unlink()
    found, names = embedded(tmp_path, "--model", model, "--records", images)
    np.testing.assert_array_equal(found, expected(1, 2))
    assert names == [["image", "identity"], ["sub dir/a.png", "0"], ["sub dir/c.png", "0"]]


def test_landmarks_align_what_is_not(tmp_path, model, images):
    (images / "b.png").write_bytes(encoded_image(3, 256, 256))
    own = " ".join(map(str, (2 * TEMPLATE + (16, 8)).ravel()))
    rest = " ".join(map(str, TEMPLATE.ravel()))
    (tmp_path / "p.csv").write_text(
        "\n".join(f"{name} {points}".replace(" ", ",") for name, points in [("b.png", own)])
        + "".join(f'\n"sub dir/{name}",' + rest.replace(" ", ",") for name in ("a.png", "c.png"))
    )
    found, _ = embedded(tmp_path, "--model", model, "--images", images, "--landmarks", tmp_path / "p.csv")
    np.testing.assert_array_equal(found[1:], expected(1, 2))
    aligned = noise_image(3, 256, 256)[8 : 8 + 224 : 2, 16 : 16 + 224 : 2]
    assert np.abs(found[0, 0] - corner_network(aligned.transpose(2, 0, 1)[None])[0]).max() <= 1


def test_an_image_that_the_landmarks_leave_out_is_told_before_any_is_embedded(tmp_path, model, images, capsys):
    (images / "b.png").write_bytes(b"no image")  # would be the first to be read
    points = " ".join(map(str, TEMPLATE.ravel()))
    (tmp_path / "p.txt").write_text(f"b.png {points}\n")
    command = ("--model", model, "--images", images, "-o", tmp_path / "out.npy", "--landmarks", tmp_path / "p.txt")
    assert "p.txt: has no landmarks of sub dir/a.png: add a line for it" in refused(capsys, *command)


def test_photographs_are_not_taken_for_aligned_faces(tmp_path, model, images, capsys):
    (images / "b.png").write_bytes(encoded_image(3, 250, 250))
    command = ("--model", model, "--images", images, "-o", tmp_path / "out.npy")
    assert "b.png: the image is 248x248 and not 112x112" in refused(capsys, *command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "m.onnx"]
    assert status(*command, "--resize") == 0


def test_images_that_cannot_be_used_are_left_out_where_a_list_of_them_is_wanted(tmp_path, model, images, capsys):
    (images / "sub dir" / "a.png").write_bytes(b"no image")
    command = ("--model", model, "--images", images)
    assert "sub dir/a.png: does not decode" in refused(capsys, *command, "-o", tmp_path / "out.npy")
    found, names = embedded(tmp_path, *command, "--dropped", tmp_path / "bad.csv")
    np.testing.assert_array_equal(found, expected(0, 2))
    assert names == [["image"], ["b.png"], ["sub dir/c.png"]]
    assert b"sub dir/a.png," in (tmp_path / "bad.csv").read_bytes()
    assert "1 of 3 images are left out" in capsys.readouterr().err


def test_a_missing_file_of_a_list_is_left_out_where_a_list_of_them_is_wanted(tmp_path, model, images):
    (tmp_path / "list.txt").write_text("images/b.png\nimages/none.png\nimages\n")
    command = ("--model", model, "--images", tmp_path / "list.txt", "--dropped", tmp_path / "bad.csv")
    assert embedded(tmp_path, *command)[1] == [["image"], ["images/b.png"]]
    with (tmp_path / "bad.csv").open(newline="") as file:
        (_, missing, folder) = csv.reader(file)
    assert missing[0] == "images/none.png"
    assert "images/none.png: cannot be read (No such file or directory)" in missing[1]
    assert folder[0] == "images"


def test_a_link_that_leads_nowhere_is_called_one_and_can_be_left_out(tmp_path, model, images, capsys):
    (images / "b.png").unlink()
    (images / "b.png").symlink_to("none.png")
    command = ("--model", model, "--images", images)
    said = refused(capsys, *command, "-o", tmp_path / "out.npy")
    assert "b.png: cannot be read (No such file or directory)" in said
    assert "mend a link that leads nowhere" in said
    found, _ = embedded(tmp_path, *command, "--dropped", tmp_path / "bad.csv")
    np.testing.assert_array_equal(found, expected(1, 2))


def test_nothing_is_replaced_and_nothing_half_written(tmp_path, model, images, capsys, monkeypatch):
    command = ("--model", model, "--images", images, "-o", tmp_path / "out.npy")
    (tmp_path / "out.csv").write_text("mine")
    assert "out.csv: exists already" in refused(capsys, *command)
    assert (tmp_path / "out.csv").read_text() == "mine"
    (tmp_path / "out.csv").unlink()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert status(*command) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "m.onnx"]


def test_no_output_takes_the_place_of_another(tmp_path, model, images, capsys):
    command = ("--model", model, "--images", images, "-o", tmp_path / "out.npy")
    for name in ("out.csv", "out.npy"):
        said = refused(capsys, *command, "--dropped", tmp_path / name)
        assert f"--dropped {tmp_path / name}: is the name of another output" in said


def test_names_that_are_no_text_are_kept(tmp_path, model, images):
    (images / "b.png").rename(os.fsdecode(os.fsencode(images) + b"/b\xe9.png"))
    assert status("--model", model, "--images", images, "-o", tmp_path / "out.npy") == 0
    assert (tmp_path / "out.csv").read_bytes().splitlines()[1] == b"b\xe9.png"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "m.onnx"], "one of --images, --records and --bin"),
        (["--model", "m.onnx", "--images", "images", "--bin", "s.bin"], "one of --images, --records and --bin"),
        (["--images", "images"], "give one of --checkpoint and --model"),
        (["--model", "m.onnx", "--images", "list.txt", "--links", "inside"], "leave it out with the list list.txt"),
        (["--model", "m.onnx", "--records", "images", "--links", "inside"], "--links is for --images: leave it out"),
        (["--model", "m.onnx", "--bin", "s.bin", "--detector", "d.onnx"], "leave them out with --bin"),
        (["--model", "m.onnx", "--bin", "s.bin", "--links", "anywhere"], "--links is for --images"),
        (["--model", "m.onnx", "--bin", "s.bin", "--landmarks", "p.txt"], "leave them out with --bin"),
        (["--model", "m.onnx", "--images", "none"], "none: cannot be read"),
    ],
)
def test_bad_arguments_get_one_line(tmp_path, model, images, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("images/b.png\n")
    assert said in refused(capsys, *words, "-o", "out.npy")


def test_a_missing_file_of_a_list_is_named_before_any_is_embedded(tmp_path, model, images, capsys):
    (tmp_path / "list.txt").write_text("images/b.png\n\nimages/none.png\n")
    command = ("--model", model, "--images", tmp_path / "list.txt", "-o", tmp_path / "out.npy")
    assert "list.txt line 3: there is no file 'images/none.png'" in refused(capsys, *command)
