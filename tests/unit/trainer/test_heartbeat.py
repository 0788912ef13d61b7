"""What a rank tells its launcher, and what becomes of it where a disk takes nothing."""

import os

import pytest

from arcface_trainer.heartbeat import Heartbeat, Phase, read_beat


def test_the_last_thing_that_was_begun_is_read(tmp_path):
    heartbeat = Heartbeat(tmp_path / "rank-0.beat")
    assert read_beat(tmp_path / "rank-0.beat") is None
    for step in (2**40, 3):
        for phase in Phase:
            heartbeat.enter(phase, step)
            beat = read_beat(tmp_path / "rank-0.beat")
            assert (beat.phase, beat.step) == (phase, step)
            assert beat.phase.in_words


def test_there_is_none_before_the_rank_trains(tmp_path):
    assert read_beat(tmp_path / "rank-0.beat") is None


def test_a_disk_that_takes_no_beat_ends_no_training(tmp_path):
    heartbeat = Heartbeat(tmp_path / "rank-0.beat")
    os.dup2(os.open(tmp_path, os.O_RDONLY), heartbeat._descriptor)
    with pytest.raises(OSError, match="descriptor"):
        os.pwrite(heartbeat._descriptor, b"beat", 0)
    heartbeat.enter(Phase.STEP, 1)
