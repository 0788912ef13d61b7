"""Saving behind the steps of several ranks: they go on whatever a disk does, and all learn its end at the same step."""

import errno
import os
from itertools import count

import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, Diverged
from arcface_faces.checkpoint import (
    BACKBONE_FILE,
    ClassRange,
    class_range,
    newest_complete,
    read_file,
    read_head,
    read_manifest,
)
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import Verifications
from support.builders.saved_states import CLASSES, ArrayState, make_writer
from support.fakes.disks import Disk, refusing
from support.fakes.rank_threads import ThreadWorld, run_ranks

RANKS = 3


class Rank:
    """One rank that trains and saves."""

    def __init__(self, world: ThreadWorld, directory, disk: Disk, *, lag: int = 0) -> None:
        self.world, self.disk = world, disk
        self.saver = Saver(make_writer(directory, world, write_file=disk))
        self.in_flight = [0] * lag
        """Votes of steps that are launched and not looked at yet; none before the first step."""
        if world.is_first:
            self.saver.writer.prepare()
        world.all_gather([0])

    def begin(self, step, value=1.0):
        state = ArrayState(value, class_range(CLASSES, self.world.size, self.world.rank))
        self.saver.begin(self.saver.writer.snapshot(state, step, Verifications()))

    def train_until_saved(self, let_at=0):
        """Steps until the save has ended, and how; the disk may write from step `let_at` on."""
        for steps in count():
            if steps == let_at:
                self.disk.let.set()
            self.in_flight.append(self.world.vote(self.saver.bit))
            result = self.saver.advance(self.in_flight.pop(0))
            if result is not None:
                return steps, result
        raise AssertionError


@pytest.mark.parametrize("lag", [0, 1], ids=["votes of this step", "votes of the step before"])
@pytest.mark.parametrize("slow", [(0, 0, 0), (0, 0, 40), (40, 0, 0), (5, 20, 10)], ids=str)
def test_steps_go_on_while_disks_are_slow_and_all_ranks_learn_of_the_end_together(tmp_path, slow, lag):
    def rank_main(world):
        rank = Rank(world, tmp_path, Disk(is_slow=True), lag=lag)
        ends = []
        for step in (4, 8, 12):
            rank.begin(step)
            ends.append(rank.train_until_saved(let_at=slow[world.rank]))
            rank.disk.let.clear()
        return ends

    first, *others = run_ranks(RANKS, rank_main)
    for ends in others:
        assert [steps for steps, _ in ends] == [steps for steps, _ in first]
    assert all(steps >= max(slow) for steps, _ in first)
    assert [result.status.step for _, result in first] == [4, 8, 12]
    assert all(result.failure is result.status is None for ends in others for _, result in ends)
    folder = newest_complete(tmp_path)
    head = read_head(folder, read_manifest(folder), ClassRange(0, CLASSES))
    np.testing.assert_array_equal(head["centers"], ArrayState().head()["centers"])


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.ESTALE], ids=errno.errorcode.get)
@pytest.mark.parametrize("broken", range(RANKS))
def test_a_disk_that_refuses_costs_one_save_and_nothing_else(tmp_path, broken, number):
    def rank_main(world):
        rank = Rank(world, tmp_path, refusing(number) if world.rank == broken else Disk())
        rank.begin(4)
        failed = rank.train_until_saved()
        left = sorted(path.name for path in tmp_path.rglob("*")) if world.is_first else None
        world.all_gather([0])
        rank.disk.error = None
        rank.begin(8)
        return failed, left, rank.train_until_saved()

    ends = run_ranks(RANKS, rank_main)
    assert len({steps for (steps, _), _, _ in ends}) == 1
    for rank, ((_, result), _, (_, next_result)) in enumerate(ends):
        assert result.is_own_failure == (rank == broken)
        assert type(result.failure) is ArcFaceError
        assert (os.strerror(number) if rank == broken else f"failed on rank {broken}") in str(result.failure)
        assert next_result.failure is None
    assert ends[0][1] == [".writing-0"], "what was written is removed, which makes room on the disk"
    assert newest_complete(tmp_path).name == "step-00000008"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("broken", range(RANKS))
def test_a_disk_that_refuses_leaves_the_checkpoint_before_whole(tmp_path, broken, number):
    def rank_main(world):
        rank = Rank(world, tmp_path, Disk())
        rank.begin(4, value=2.0)
        rank.train_until_saved()
        world.all_gather([0])
        rank.disk.error = number if world.rank == broken else None
        for step in (8, 12):
            rank.begin(step)
            assert rank.train_until_saved()[1].failure is not None

    run_ranks(RANKS, rank_main)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-0", "step-00000004"]
    folder = newest_complete(tmp_path)
    manifest, expected = read_manifest(folder), ArrayState(2.0)
    assert manifest.step == 4
    backbone = read_file(folder, manifest, BACKBONE_FILE)
    head = read_head(folder, manifest, ClassRange(0, CLASSES))
    for read, state in ((backbone, expected.backbone(None)), (head, expected.head())):
        assert read.keys() == state.keys()
        for name, array in state.items():
            np.testing.assert_array_equal(read[name], array)


def test_where_rank_0_cannot_publish_all_ranks_learn_it(tmp_path):
    def rank_main(world):
        rank = Rank(world, tmp_path, Disk(is_slow=True))
        rank.begin(4)
        if world.is_first:
            # A file where a manifest cannot be opened for writing, whoever the user is.
            (rank.saver.writer.room / "step-00000004" / "manifest.json").mkdir(parents=True)
        return rank.train_until_saved(let_at=3)[1]

    first, *others = run_ranks(RANKS, rank_main)
    assert first.is_own_failure
    assert "Is a directory" in str(first.failure)
    assert all("failed on rank 0" in str(result.failure) and not result.is_own_failure for result in others)
    assert newest_complete(tmp_path) is None
    assert [path.name for path in tmp_path.rglob("*")] == [".writing-0"]


def test_a_state_that_is_not_finite_on_one_rank_is_saved_by_none_and_removes_nothing(tmp_path):
    def rank_main(world):
        rank = Rank(world, tmp_path, Disk())
        for step in (2, 4):
            rank.begin(step)
            rank.train_until_saved()
        rank.begin(6, value=np.nan)
        return rank.train_until_saved()[1]

    results = run_ranks(RANKS, rank_main)
    assert all(isinstance(result.failure, Diverged) for result in results)
    assert "is not finite" in str(results[0].failure)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000002", "step-00000004"]


def test_ranks_may_wait_for_the_end_together(tmp_path):
    def rank_main(world):
        rank = Rank(world, tmp_path, Disk())
        rank.begin(4)
        return rank.saver.finish(), rank.saver.finish()

    ends = run_ranks(RANKS, rank_main)
    assert ends[0][0].status.step == 4
    assert all(nothing is None for _, nothing in ends)
