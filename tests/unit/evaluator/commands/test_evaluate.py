"""The command as a user sees it: standard output, one line of error, exit code."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_api.command import run
from arcface_api.resource.status import PairResult
from arcface_faces.embedding.embedder import embed
from arcface_faces.pairs.pair_set import read_pair_set
from support.builders.onnx_model import corner_model
from support.builders.verification_set import corner_network, encoded_image, noise_image, write_pairs, write_set
from support.waiting import wait_until


@pytest.fixture
def small(tmp_path):
    """A set of 20 pairs and its embeddings from both views."""
    path = write_pairs(tmp_path / "small.bin", pairs=20)
    np.save(tmp_path / "small.npy", embed(read_pair_set(path), corner_network, batch_size=8))
    return tmp_path


def status(*arguments):
    """Exit status of `arcface evaluate pairs`; click ends a good command by SystemExit."""
    try:
        return run(["evaluate", "pairs", *map(str, arguments)])
    except SystemExit as ended:
        return ended.code


def refused(capsys, *arguments):
    """The one line that the command prints before it ends with status 2."""
    assert status(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def test_real_faces_print_the_lines_of_the_reference(faces, capsys):
    sface = faces / "sface" / "sface_pairs.npy"
    assert status("--embeddings", sface, "--bin", faces / "lfw_dev.bin") == 0
    assert capsys.readouterr().out == "[lfw_dev]XNorm: 12.270272\n[lfw_dev]Accuracy: 0.98917+-0.01181\n"


def test_both_views_print_accuracy_flip(small, capsys):
    assert status("--embeddings", small / "small.npy", "--bin", small / "small.bin") == 0
    norm = np.linalg.norm(np.load(small / "small.npy").astype(np.float64), axis=2).mean()
    assert capsys.readouterr().out == f"[small]XNorm: {norm:.6f}\n[small]Accuracy-Flip: 1.00000+-0.00000\n"


def test_json_has_results_as_in_status_and_every_other_number(small, capsys):
    written = small / "out.json"
    options = ["--embeddings", small / "small.npy", "--bin", small / "small.bin", "--json", str(written)]
    assert status(*options) == 0
    document = json.loads(written.read_text())
    assert PairResult.from_json(json.dumps(document["results"][0]), "results") == PairResult(
        dataset="small", accuracy=1.0, std=0.0, pairs=20
    )
    assert document["ijb"] == []
    details = document["details"][0]
    assert details["folds"] == [1.0] * 10
    assert len(details["thresholds"]) == 10
    assert details["flip"] is True
    assert details["accuracyWithoutFlip"] == 1.0
    assert document["protocol"] == {
        "folds": 10,
        "thresholdStep": 0.01,
        "thresholdCount": 400,
        "same": "squaredDistance < threshold",
        "ties": "smallestThreshold",
        "std": "population",
        "flip": "sum",
    }
    hashes = {file["path"]: file["sha256"] for file in document["inputs"]}
    assert hashes == {
        str(small / name): hashlib.sha256((small / name).read_bytes()).hexdigest()
        for name in ("small.bin", "small.npy")
    }


@pytest.mark.parametrize("name", ["small.bin", "small.npy", "link.bin", "hard.npy", "sub/../small.bin"])
def test_json_never_replaces_an_input(small, capsys, name):
    (small / "sub").mkdir()
    (small / "link.bin").symlink_to(small / "small.bin")
    (small / "hard.npy").hardlink_to(small / "small.npy")
    before = {path: path.read_bytes() for path in (small / "small.bin", small / "small.npy")}
    options = ["--embeddings", small / "small.npy", "--bin", small / "small.bin", "--json", small / name]
    assert f"--json {small / name}: would replace the input {small}/small." in refused(capsys, *options)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_json_never_replaces_a_file_of_the_checkpoint(small, capsys):
    (small / "manifest.json").write_text("{}")
    options = ["--checkpoint", small, "--bin", small / "small.bin", "--json", small / "manifest.json"]
    assert "would replace the input" in refused(capsys, *options)


def test_further_sets_may_follow_as_a_shell_glob(small, capsys):
    second = write_pairs(small / "second.bin", pairs=10)
    np.save(small / "second.npy", np.load(small / "small.npy")[:20, 0])
    embeddings = ["--embeddings", small / "small.npy", "--embeddings", small / "second.npy"]
    assert status(*embeddings, "--bin", small / "small.bin", str(second)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("]")[0] for line in lines] == ["[small", "[small", "[second", "[second"]
    assert lines[3].startswith("[second]Accuracy: ")


def test_bad_arguments_get_one_line(small, capsys):
    bin_file, embeddings = small / "small.bin", small / "small.npy"
    assert "one of --checkpoint, --model and --embeddings" in refused(capsys, "--bin", bin_file)
    both = ("--checkpoint", small, "--embeddings", embeddings)
    assert "one of --checkpoint, --model and --embeddings" in refused(capsys, *both, "--bin", bin_file)
    assert "at least one verification set" in refused(capsys, "--embeddings", embeddings)
    assert f"{bin_file}: put --bin before it" in refused(capsys, "--embeddings", embeddings, bin_file)
    second = write_pairs(small / "second.bin", pairs=10)
    two = ("--embeddings", embeddings, "--bin", bin_file, "--bin", second)
    assert "2 sets but 1 files of embeddings" in refused(capsys, *two)
    assert "order of the sets is unclear" in refused(capsys, *two, small / "third.bin")
    (small / "other").mkdir()
    same_name = write_pairs(small / "other" / "small.bin", pairs=10)
    assert "2 sets are called 'small'" in refused(capsys, "--embeddings", embeddings, "--bin", bin_file, same_name)


def test_channels_alone_say_nothing(small, capsys):
    options = ["--model", small / "m.onnx", "--channels", "BGR", "--bin", small / "small.bin"]
    assert "--channels BGR: goes with --mean and --scale" in refused(capsys, *options)


def test_features_of_both_views_side_by_side_are_judged_as_two(small, capsys):
    both = np.load(small / "small.npy")
    np.save(small / "wide.npy", both.reshape(len(both), -1))
    assert status("--embeddings", small / "small.npy", "--bin", small / "small.bin") == 0
    expected = capsys.readouterr().out
    options = ["--embeddings", small / "wide.npy", "--views", "concatenated", "--bin", small / "small.bin"]
    assert status(*options) == 0
    assert capsys.readouterr().out == expected


def test_check_counts_the_pairs_of_every_set(small, capsys):
    write_pairs(small / "second.bin", pairs=11)
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "check", str(small / "small.bin"), str(small / "second.bin")])
    assert capsys.readouterr().out == "small: 20 pairs, 10 of one person\nsecond: 11 pairs, 6 of one person\n"
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "check", "--json", str(small / "small.bin")])
    assert json.loads(capsys.readouterr().out) == {"sets": [{"name": "small", "pairs": 20, "same": 10}], "ijb": []}


def test_check_refuses_what_would_fail_in_an_evaluation(small, capsys):
    few = write_pairs(small / "few.bin", pairs=9)
    assert run(["evaluate", "check", str(few)]) == 2
    assert "few.bin: has 9 pairs; verification in 10 folds needs 10 at least" in capsys.readouterr().err
    wide = write_set(small / "wide.bin", [encoded_image(1, height=112, width=96)] * 20, [True, False] * 5)
    assert run(["evaluate", "check", str(wide)]) == 2
    assert "wide.bin: image 0: the image is 96x112" in capsys.readouterr().err
    damaged = write_set(small / "damaged.bin", [*[encoded_image(1)] * 19, b"no image"], [True, False] * 5)
    assert run(["evaluate", "check", str(damaged)]) == 2
    assert "damaged.bin: image 19: does not decode" in capsys.readouterr().err
    image = cv2.imencode(".jpg", noise_image(1))[1].tobytes()
    lost = image[:2000] + bytes(500) + image[2500:]
    zeros = write_set(small / "zeros.bin", [*[image] * 17, lost, image, lost], [True, False] * 5)
    assert run(["evaluate", "check", str(zeros)]) == 2
    told = capsys.readouterr().err
    assert "zeros.bin: image 17: decodes, but a part of the image is lost (" in told
    assert told.endswith("; images with faults: 2\n")


def test_photographs_are_refused_unless_they_are_said_to_be_aligned(small, capsys):
    large = write_set(small / "large.bin", [encoded_image(seed, 250, 250) for seed in range(20)], [True, False] * 5)
    assert run(["evaluate", "check", str(large)]) == 2
    assert "large.bin: image 0: the image is 248x248 and not 112x112: where it is aligned" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "check", str(large), "--resize"])


@pytest.mark.parametrize(("is_same", "counts"), [(True, "10 pairs are of one person and 0 of two"), (False, "0 pairs")])
def test_pairs_of_one_kind_have_no_accuracy(small, capsys, is_same, counts):
    alike = write_set(small / "alike.bin", [encoded_image(seed) for seed in range(20)], [is_same] * 10)
    np.save(small / "alike.npy", np.ones((20, 4), np.float32))
    said = refused(capsys, "--embeddings", small / "alike.npy", "--bin", alike)
    assert counts in said
    assert "there must be both" in said


def test_outputs_that_cannot_be_written_are_told_before_anything_is_computed(small, capsys):
    command = ("--embeddings", small / "none.npy", "--bin", small / "small.bin")
    assert "nowhere/x.json: its folder is not there" in refused(
        capsys, *command, "--json", small / "nowhere" / "x.json"
    )
    (small / "file").touch()
    assert "cannot be made" in refused(capsys, *command, "--report", small / "file" / "page")


def test_bad_files_get_one_line(small, capsys):
    bin_file, embeddings = small / "small.bin", small / "small.npy"
    cut = small / "cut.bin"
    cut.write_bytes(bin_file.read_bytes()[:-3])
    assert "cut.bin: byte" in refused(capsys, "--embeddings", embeddings, "--bin", cut)
    odd = write_set(small / "odd.bin", [b"x"] * 21, [True] * 10)
    assert "odd number" in refused(capsys, "--embeddings", embeddings, "--bin", odd)
    fewer = small / "fewer.npy"
    np.save(fewer, np.load(embeddings)[:-1])
    assert "fewer.npy: has 39 rows; the set has 40" in refused(capsys, "--embeddings", fewer, "--bin", bin_file)
    assert "holds no complete checkpoint" in refused(capsys, "--checkpoint", small, "--bin", bin_file)
    assert "is no folder" in refused(capsys, "--checkpoint", small / "none", "--bin", bin_file)


def test_a_document_on_standard_output_has_it_alone(small, capsys):
    options = ["--embeddings", small / "small.npy", "--bin", small / "small.bin", "--json", "-"]
    assert status(*options) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["results"][0]["dataset"] == "small"
    assert output.err.startswith("[small]XNorm: ")


def test_the_document_has_the_sets_that_were_done_before_another_one_failed(small, capsys):
    second, written = write_pairs(small / "second.bin", pairs=10), small / "out.json"
    (small / "second.npy").write_bytes(b"damaged")
    embeddings = ["--embeddings", small / "small.npy", "--embeddings", small / "second.npy"]
    assert status(*embeddings, "--bin", small / "small.bin", second, "--json", written) == 2
    assert "second.npy" in capsys.readouterr().err
    assert [record["dataset"] for record in json.loads(written.read_text())["sets"]] == ["small"]


def test_numbers_of_the_document_are_not_rounded(tmp_path):
    path, written = write_pairs(tmp_path / "odd.bin", pairs=25), tmp_path / "o.json"
    squared = np.array([2.6] + [2.5, 0.5] * 12)  # even pairs are said to be of one person
    angles = np.arccos(1 - squared / 2)
    vectors = np.stack([np.ones(25), np.zeros(25), np.cos(angles), np.sin(angles)], axis=1).reshape(50, 2)
    np.save(tmp_path / "odd.npy", vectors.astype(np.float32))
    assert status("--embeddings", tmp_path / "odd.npy", "--bin", path, "--json", written) == 0
    (found,) = json.loads(written.read_text())["results"]
    assert found["accuracy"] == pytest.approx((2 / 3 + 9) / 10, abs=1e-15)
    assert found["std"] == pytest.approx(0.1, abs=1e-15)


def test_whoever_reads_the_lines_may_leave_and_the_document_is_whole(small):
    second = write_pairs(small / "second.bin", pairs=10)
    np.save(small / "second.npy", np.load(small / "small.npy")[:20])
    command = [Path(sys.executable).with_name("arcface"), "evaluate", "pairs", "--json", small / "out.json"]
    sets = ["--embeddings", small / "small.npy", "--embeddings", small / "second.npy", "--bin", small / "small.bin"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command, *sets, second], check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
    written = json.loads((small / "out.json").read_text())
    assert [record["dataset"] for record in written["sets"]] == ["small", "second"]


def is_running(process):
    """Whether a process is there, and not as a mere entry that nobody has asked for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_interrupt_of_the_terminal_is_one_line_and_leaves_no_process(small):
    corner_model(small / "m.onnx")
    command = [Path(sys.executable).with_name("arcface"), "evaluate", "pairs", "--model", small / "m.onnx"]
    options = ["--mean", "127.5", "--scale", "127.5", "--ranks", "2", "--bin", os.fspath(small / "small.bin")]
    # Whoever ignores interrupts, as what runs behind a shell does, has children that ignore them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    wait_until(lambda: len(children.read_text().split()) >= 3)  # one follows what they share
    ranks = children.read_text().split()
    os.killpg(started.pid, signal.SIGINT)
    _, told = started.communicate()
    assert told.strip() == "Aborted!"
    assert started.returncode == 1
    wait_until(lambda: not [rank for rank in ranks if is_running(rank)])
