"""The evaluator where neither MindSpore nor the trainer is installed: embeddings and ONNX files are still judged.

So are the histories of trainings and checkpoints, which somebody looks at on another machine.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.sets.release_images import open_images
from arcface_faces.embedding.embedder import embed
from arcface_faces.pairs.pair_set import read_pair_set
from support.builders.histories import lines_of, write_history
from support.builders.ijb_release import write_release
from support.builders.onnx_model import corner_model
from support.builders.verification_set import corner_network, write_pairs

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = ("api", "faces", "evaluator")
UNREACHABLE = ("Failed to fetch", "error sending request", "dns error", "Could not connect", "timed out")
"""What uv says where there is no package index."""
UV = Path(sys.executable).with_name("uv")
IMPORTABLE = "import importlib.util as u; print([bool(u.find_spec(name)) for name in ('mindspore', 'arcface_trainer')])"


def installed(environment: Path, wheels: Path, *options: str) -> subprocess.CompletedProcess:
    """Install the wheels, and what they need in the versions of the lock file."""
    python, lock = environment / "bin" / "python", ROOT / "requirements" / "trainer.txt"
    command = [UV, "pip", "install", "--quiet", "--python", python, "--constraint", lock, *sorted(wheels.iterdir())]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def arcface(tmp_path_factory) -> Path:
    """The `arcface` command of an environment with the three distributions and what they ask for."""
    if not UV.exists() and shutil.which("uv") is None:
        pytest.skip("no uv here")
    folder = tmp_path_factory.mktemp("alone")
    wheels = folder / "wheels"
    for name in DISTRIBUTIONS:
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", wheels]
        subprocess.run(build, cwd=ROOT / name, check=True, capture_output=True)
    environment = folder / "environment"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, environment], check=True, capture_output=True)
    # What was installed before is in uv's cache, and then no index is asked.
    ended = installed(environment, wheels, "--offline")
    if ended.returncode:
        ended = installed(environment, wheels)
    if ended.returncode and os.environ.get("CI") != "true" and any(sign in ended.stderr for sign in UNREACHABLE):
        pytest.skip("no package index can be reached")
    assert ended.returncode == 0, ended.stderr
    return environment / "bin" / "arcface"


def run(arcface: Path, *words: object, check: bool = True) -> subprocess.CompletedProcess:
    """Run the command with nothing of this environment in sight."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [arcface, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=check, env=environment, timeout=120)


def evaluate(arcface: Path, *words: object, check: bool = True) -> subprocess.CompletedProcess:
    return run(arcface, "evaluate", *words, check=check)


def test_the_environment_has_neither_mindspore_nor_the_trainer(arcface):
    answer = subprocess.run([arcface.with_name("python"), "-c", IMPORTABLE], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[False, False]"


def test_pairs_are_judged_by_embeddings_and_by_an_onnx_file_alike(arcface, tmp_path):
    bin_file = write_pairs(tmp_path / "set.bin", pairs=20)
    np.save(tmp_path / "corner.npy", embed(read_pair_set(bin_file), corner_network, batch_size=8))
    model = corner_model(tmp_path / "corner.onnx")
    documents = []
    for source in (
        ["--embeddings", tmp_path / "corner.npy"],
        ["--model", model, "--mean", "127.5", "--scale", "1"],
    ):
        evaluate(arcface, "pairs", *source, "--bin", bin_file, "--json", tmp_path / "answer.json")
        documents.append(json.loads((tmp_path / "answer.json").read_text()))
    assert documents[0]["details"] == documents[1]["details"]
    assert documents[0]["results"][0]["accuracy"] == 1.0


def test_releases_are_judged_by_embeddings_with_the_page(arcface, tmp_path):
    root = write_release(tmp_path)
    np.save(tmp_path / "model.npy", embed(open_images(open_ijb(root)), corner_network, batch_size=8))
    page = tmp_path / "page"
    ended = evaluate(arcface, "ijb", "--embeddings", tmp_path / "model.npy", "--root", root, "--report", page)
    assert "IJBC: TAR in % at FAR" in ended.stdout
    assert (page / "report.html").is_file()


@pytest.mark.parametrize("source", [("--checkpoint", "step-00000010"), ("--model", "network.mindir")])
def test_what_needs_the_trainer_says_so_in_one_line(arcface, tmp_path, source):
    option, name = source
    ended = evaluate(arcface, "pairs", option, tmp_path / name, "--bin", tmp_path / "set.bin", check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path / name}: needs arcface-trainer and mindspore, not installed here" in ended.stderr


def test_trainings_and_checkpoints_are_looked_at(arcface, tmp_path):
    folder = write_history(tmp_path / "faces", lines_of("a", 0, 20))
    outputs = ["--report", tmp_path / "page", "--tensorboard", tmp_path / "events"]
    assert "faces" in run(arcface, "history", folder, *outputs).stdout
    assert (tmp_path / "page" / "history.html").is_file()
    assert len(list((tmp_path / "events" / "faces").iterdir())) == 1
    ended = run(arcface, "checkpoint", "verify", folder, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"{folder}: holds no checkpoint" in ended.stderr
