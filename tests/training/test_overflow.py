"""Overflows of float16 in two real ranks: each leaves its step out on both, to the bit, and halves the loss scale.

The ranks are started, stopped and started again as a pod's command does it. What makes gradients overflow is the loss
scale: a fresh run has it too high for this network, and between two runs it is raised in the checkpoint. The run in
which every step overflows ends by itself, before a row of such steps is called a divergence.
"""

import json
import math
import os
import re
import signal
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from arcface_faces import checkpoint
from arcface_faces.checkpoint import CheckpointManifest, ClassRange, LossScale
from arcface_faces.checkpoint_writing import write_manifest
from arcface_trainer.step.loss_scale import INITIAL
from arcface_trainer.training.verdict import WINDOW
from support.processes.trainings import TrainingPod, write_image_folder, write_run_config
from support.waiting import wait_until

IDENTITIES = 4
STEPS = 6
"""At least, of each run; as many make an epoch."""
EPOCHS = 1000
NEVER_FITS = 2.0**100
"""Halved once a step it is too high for all steps of a run."""
TOO_HIGH = 64
"""Times what fits: halved a few times it fits again."""


class Run(NamedTuple):
    """What a run of two ranks has left."""

    start: int
    """Updates before it."""
    scale: float
    """Loss scale at its start."""
    folder: Path
    """Checkpoint at its end."""
    manifest: CheckpointManifest
    """As the run wrote it: the next run starts with another loss scale."""
    left_out: list[int]
    """Steps that its log calls left out."""
    told: list[tuple[float, float]]
    """Loss scale and steps left out by the metrics of each rank, while it ran; none of a run that ended by itself."""
    progress: dict[str, Any]

    @property
    def end(self) -> LossScale:
        assert self.manifest.loss_scale is not None
        return self.manifest.loss_scale

    @property
    def halvings(self) -> int:
        return round(math.log2(self.scale / self.end.scale))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overflow")
    return write_run_config(
        folder / "run.json",
        write_image_folder(folder / "images", IDENTITIES),
        folder / "checkpoints",
        training={"epochs": EPOCHS, "batchSize": 4, "precision": "fp16", "optimizer": {"learningRate": 0.01}},
        checkpoint={"directory": str(folder / "checkpoints"), "everySteps": 10**6, "keepLast": 9},
    )


def run(config: Path, scale: float, *, to_the_end: bool = False) -> Run:
    """Train from the newest checkpoint, or from fresh weights, and stop after some steps or end.

    `scale` is what it starts with.
    """
    checkpoints = Path(json.loads(config.read_text())["checkpoint"]["directory"])
    newest = checkpoint.newest_complete(checkpoints)
    start = 0 if newest is None else checkpoint.step_of(newest)
    with TrainingPod(config) as pod:
        told = []
        if not to_the_end:
            pod.wait_for_step(start + STEPS)
            told = [told_by(pod.port + rank, scale) for rank in range(2)]
            os.kill(pod.process.pid, signal.SIGTERM)
        status, output = pod.wait()
    assert status == (0 if to_the_end else 143), output
    left_out = [int(step) for step in re.findall(r"step is left out, .* at step (\d+) loss=", output)]
    folder = checkpoint.newest_complete(checkpoints)
    assert folder is not None
    manifest = checkpoint.read_manifest(folder)
    return Run(start, scale, folder, manifest, left_out, told, pod.report()["progress"])


def told_by(port: int, scale: float) -> tuple[float, float]:
    """Loss scale and steps left out by a rank's metrics, once both are of one step."""

    def figure(text: str, name: str) -> float:
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name}{{"))

    def figures() -> tuple[float, float]:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        return figure(text, "arcface_train_loss_scale"), figure(text, "arcface_train_skipped_steps_total")

    found: list[tuple[float, float]] = []

    def agree() -> bool:
        found.append(figures())
        current, skipped = found[-1]
        return current * 2**skipped == scale

    wait_until(agree)
    return found[-1]


def raise_scale(config: Path, folder: Path, scale: float, epochs: int = EPOCHS) -> float:
    """Write another loss scale into a checkpoint, and another end of the training into all and the configuration."""
    content = json.loads(config.read_text())
    content["training"]["epochs"] = epochs
    config.write_text(json.dumps(content))
    for each in checkpoint.checkpoints(folder.parent):
        changes: dict[str, Any] = {"total_steps": epochs * STEPS}
        if each == folder:
            changes["loss_scale"] = LossScale(scale=scale, good_steps=0)
        write_manifest(each, checkpoint.read_manifest(each).model_copy(update=changes).to_json())
    return scale


@pytest.fixture(scope="module")
def fresh(config: Path) -> Run:
    return run(config, INITIAL)


@pytest.fixture(scope="module")
def stuck(config: Path, fresh: Run) -> Run:
    """A run in which every step overflows."""
    scale = raise_scale(config, fresh.folder, NEVER_FITS, fresh.manifest.step // STEPS + 2)
    return run(config, scale, to_the_end=True)


@pytest.fixture(scope="module")
def recovered(config: Path, fresh: Run, stuck: Run) -> Run:
    """A run whose first steps overflow."""
    return run(config, raise_scale(config, stuck.folder, TOO_HIGH * fresh.end.scale))


def state(folder: Path) -> dict[str, bytes]:
    """Weights, statistics and momentum, of backbone and head."""
    manifest = checkpoint.read_manifest(folder)
    parts = {
        name: checkpoint.read_file(folder, manifest, name)
        for name in (checkpoint.BACKBONE_FILE, checkpoint.MOMENTUM_FILE)
    }
    parts["head"] = checkpoint.read_head(folder, manifest, ClassRange(0, IDENTITIES))
    return {f"{part} {name}": array.tobytes() for part, arrays in parts.items() for name, array in arrays.items()}


def assert_halved_once_for_each_step_left_out(run: Run) -> None:
    assert run.halvings == len(run.left_out)
    assert run.end.good_steps == run.manifest.step - 1 - run.left_out[-1]


def test_a_fresh_run_finds_the_scale_that_fits(fresh: Run) -> None:
    assert fresh.left_out, "nothing has overflowed, and the runs below show nothing"
    assert len(fresh.left_out) < fresh.manifest.step
    assert_halved_once_for_each_step_left_out(fresh)


def test_a_step_that_overflows_changes_nothing_to_the_bit_and_halves_the_scale(fresh: Run, stuck: Run) -> None:
    steps = stuck.manifest.step - fresh.manifest.step
    assert STEPS <= steps < WINDOW
    assert stuck.left_out == list(range(stuck.start, stuck.start + steps))
    assert stuck.end == LossScale(scale=NEVER_FITS / 2**steps, good_steps=0)
    assert stuck.progress["lossScale"] == stuck.end.scale
    before = state(fresh.folder)
    assert [name for name, array in state(stuck.folder).items() if array != before[name]] == []


def test_the_first_step_that_fits_again_is_made(stuck: Run, recovered: Run) -> None:
    assert recovered.left_out[0] == recovered.start
    assert len(recovered.left_out) < recovered.manifest.step - recovered.start
    assert_halved_once_for_each_step_left_out(recovered)
    before = state(stuck.folder)
    changed = {name.split()[0] for name, array in state(recovered.folder).items() if array != before[name]}
    assert changed == {checkpoint.BACKBONE_FILE, checkpoint.MOMENTUM_FILE, "head"}


@pytest.mark.parametrize("name", ["fresh", "recovered"])
def test_both_ranks_and_the_report_tell_the_scale_and_the_steps_left_out(
    request: pytest.FixtureRequest, name: str
) -> None:
    found: Run = request.getfixturevalue(name)
    assert len(found.told) == 2
    assert all(skipped >= 1 for _, skipped in found.told)
    assert found.progress["lossScale"] == found.end.scale
