"""Ranks that are killed and started again in their pod go on from its memory, and no image is lost or taken twice."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from arcface_api.contract.pod_environment import STATES, RankIdentity
from arcface_api.contract.run_config import RunConfig
from arcface_faces import checkpoint
from arcface_trainer.pod.last_state import LastState
from arcface_trainer.shared_memory import folder_of_launcher
from support.processes.real_ranks import DEADLINE_SECONDS, run_on_ranks, started_ranks
from support.processes.trainings import write_image_folder, write_run_config
from support.waiting import wait_until

SCRIPT = Path(__file__).parent / "resized_run_of_a_rank.py"
RANKS, BATCH, EPOCHS, IMAGES = 2, 4, 6, 48
STEPS_PER_EPOCH = IMAGES // (RANKS * BATCH)
TOTAL_STEPS = EPOCHS * STEPS_PER_EPOCH
KILLED_AFTER = STEPS_PER_EPOCH + 2
"""Steps: in the midst of an epoch."""


@pytest.fixture
def arguments(tmp_path):
    """Of a training in two pods that writes no checkpoint before its end."""
    config = write_run_config(
        tmp_path / "run.json",
        write_image_folder(tmp_path / "images"),
        tmp_path / "checkpoints",
        ranks={"worldSize": RANKS, "perPod": 1, "accelerator": "cpu", "rendezvous": "dynamic"},
        training={"epochs": EPOCHS, "batchSize": BATCH, "optimizer": {"learningRate": 0.01}},
        checkpoint={"directory": str(tmp_path / "checkpoints"), "everySteps": TOTAL_STEPS, "keepLast": 1},
        metricsPort=0,
    )

    def of_run(name):
        (tmp_path / name).mkdir()
        return str(config), str(tmp_path / name)

    return of_run


def kept_by_all(memory: Path) -> int:
    """Steps before the newest state that each rank has, 0 without one."""
    found = [
        {checkpoint.step_of(folder) for folder in checkpoint.checkpoints(memory / f"rank-{rank}")} for rank in (0, 1)
    ]
    return max(set.intersection(*found), default=0)


def ids_of(folder: str) -> list[dict[int, tuple[int, ...]]]:
    """The images of each step, by rank; a line that a kill has cut off counts for nothing."""
    texts = [(Path(folder) / f"{RANKS}-{rank}.ids").read_text() for rank in range(RANKS)]
    rows = [[line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")] for text in texts]
    return [{int(step): tuple(map(int, ids)) for step, *ids in row} for row in rows]


def check_launchers_can_save(config: RunConfig, memory: Path, step: int) -> None:
    """What is alike on all ranks is alike to the bit, and launchers make a sound checkpoint of the state."""
    for folder in memory.glob("rank-*/step-*"):
        if checkpoint.step_of(folder) != step:
            shutil.rmtree(folder)  # only some have it
    manifests = [checkpoint.read_manifest(memory / f"rank-{rank}" / checkpoint.folder_name(step)) for rank in (0, 1)]
    assert manifests[0].common_part == manifests[1].common_part != []
    config.checkpoint.unpublished(None, 0, 0).mkdir(parents=True)
    states = [LastState.of(config, RankIdentity(rank=rank, world_size=RANKS), memory) for rank in (0, 1)]
    assert [state.save() for state in states] == [False, True]
    saved = checkpoint.newest_complete(Path(config.checkpoint.directory))
    manifest = checkpoint.read_manifest(saved)
    assert (manifest.step, list(checkpoint.damages(saved, manifest))) == (step, [])


def test_a_killed_rank_costs_no_more_steps_than_the_memory_lacks_and_no_image(tmp_path, arguments, monkeypatch):
    first, second = arguments("first"), arguments("second")
    with folder_of_launcher() as memory:
        assert memory is not None
        monkeypatch.setenv(STATES, str(memory))
        with started_ranks(SCRIPT, RANKS, *first) as ranks:

            def is_far_enough():
                assert all(rank.poll() is None for rank in ranks), [rank.communicate() for rank in ranks]
                return kept_by_all(memory) >= KILLED_AFTER

            wait_until(is_far_enough, DEADLINE_SECONDS)
            os.kill(ranks[1].pid, signal.SIGKILL)
        kept = kept_by_all(memory)
        assert len(list(memory.glob("graph-*"))) == RANKS  # compiled for the ranks that come
        assert not checkpoint.checkpoints(tmp_path / "checkpoints")
        config = RunConfig.read(Path(first[0]))
        elsewhere = config.checkpoint.model_copy(update={"directory": str(tmp_path / "saved")})
        copied = shutil.copytree(memory, tmp_path / "memory")
        check_launchers_can_save(config.model_copy(update={"checkpoint": elsewhere}), copied, kept)
        run_on_ranks(SCRIPT, RANKS, *second)
    before, after = ids_of(first[1]), ids_of(second[1])
    assert [min(steps) for steps in after] == [kept] * RANKS
    for rank in range(RANKS):
        again = before[rank].keys() & after[rank].keys()
        assert {step: before[rank][step] for step in again} == {step: after[rank][step] for step in again}
    whole = [earlier | later for earlier, later in zip(before, after, strict=True)]
    assert [sorted(steps) for steps in whole] == [list(range(TOTAL_STEPS))] * RANKS
    for epoch in range(EPOCHS):
        steps = range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH)
        assert sorted(number for rank in whole for step in steps for number in rank[step]) == list(range(IMAGES))
    manifest = checkpoint.read_manifest(checkpoint.newest_complete(tmp_path / "checkpoints"))
    assert (manifest.step, manifest.world_size) == (TOTAL_STEPS, RANKS)
