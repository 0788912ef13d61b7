"""Real ranks in the training's loop, which reads results one step late, beside the same steps waited for one by one."""

from pathlib import Path

import numpy as np
import pytest

from arcface_faces.checkpoint import (
    BACKBONE_FILE,
    MOMENTUM_FILE,
    checkpoints,
    class_range,
    read_file,
    read_head,
    read_manifest,
)
from support.processes.real_ranks import run_on_ranks

SCRIPT = Path(__file__).parent / "loop_of_a_rank.py"
STEPS, EVERY_STEPS, ASKED_AT, CLASSES = 12, 6, 7, 11
RANKS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    run_on_ranks(SCRIPT, RANKS, str(folder))
    return folder


def left(folder: Path, rank: int, way: str) -> dict[str, np.ndarray]:
    return dict(np.load(folder / f"{RANKS}-{rank}-{way}.npz"))


def test_losses_and_votes_are_those_of_steps_that_are_waited_for(folder):
    for rank in range(RANKS):
        awaited, loop = left(folder, rank, "awaited")["results"], left(folder, rank, "loop")["results"]
        assert len(awaited) == len(loop) == STEPS
        np.testing.assert_allclose(loop[:, :2], awaited[:, :2], rtol=1e-4)  # MindSpore's sums differ from run to run
        assert np.flatnonzero(loop[:, 2]).tolist() == [ASKED_AT - 1, ASKED_AT], "the step asked at and the one launched"


def test_all_ranks_stop_one_step_after_that_which_carried_the_wish(folder):
    assert [left(folder, rank, "loop")["stopped_at"] for rank in range(RANKS)] == [ASKED_AT + 1] * RANKS
    assert [left(folder, rank, "loop")["ended_at"] for rank in range(RANKS)] == [STEPS] * RANKS


def test_every_checkpoint_holds_the_state_of_its_step_and_not_of_its_neighbours(folder):
    found = {read_manifest(each).step: each for each in checkpoints(folder / f"checkpoints-{RANKS}")}
    assert sorted(found) == [EVERY_STEPS, ASKED_AT + 1, STEPS]
    for rank in range(RANKS):
        states = left(folder, rank, "awaited")
        for step, each in found.items():
            saved = tensors(each, rank)
            near = distance(saved, states, step)
            others = [distance(saved, states, other) for other in (step - 1, step + 1) if other <= STEPS]
            assert near < 0.01 * min(others), (rank, step, near, others)


def tensors(folder: Path, rank: int) -> dict[str, np.ndarray]:
    """What a checkpoint holds for a rank, under the names that the rank itself has given."""
    manifest = read_manifest(folder)
    parts = {
        "backbone": read_file(folder, manifest, BACKBONE_FILE),
        "momentum": read_file(folder, manifest, MOMENTUM_FILE),
        "head": read_head(folder, manifest, class_range(CLASSES, RANKS, rank)),
    }
    return {f"{part} {name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def distance(saved: dict[str, np.ndarray], states: dict[str, np.ndarray], step: int) -> float:
    """Of the state after a step that was waited for, over all tensors."""
    return sum(float(np.square(array - states[f"{step} {name}"]).sum()) for name, array in saved.items()) ** 0.5
