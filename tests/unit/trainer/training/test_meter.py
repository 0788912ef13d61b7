from datetime import UTC, datetime, timedelta

import pytest

from arcface_trainer.training.meter import Meter, StepRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_progress_tells_means_of_the_recent_steps():
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64, step=18)
    meter.add(StepRecord(loss=3.0, seconds=0.5, waits=(0.0, 0.1)))
    meter.add(StepRecord(loss=1.0, seconds=1.5, waits=(0.1, 0.1)))
    progress = meter.progress(NOW)
    assert (progress.epoch, progress.step, progress.loss) == (2, 20, 2.0)
    assert progress.epochs == "2/10"
    assert progress.images_per_second == pytest.approx(64)
    assert progress.step_milliseconds == pytest.approx(1000)
    assert progress.data_wait_percent == pytest.approx(10)
    assert progress.estimated_completion_time == NOW + timedelta(seconds=80)


def test_steps_may_be_counted_while_another_thread_reads():
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64)

    class Record(StepRecord):
        """Counts a step in the very moment it is read."""

        @property
        def loss(self):
            meter.add(StepRecord(loss=1.0, seconds=1.0, waits=(0.0,)))
            return 3.0

    meter.recent = type(meter.recent)([object.__new__(Record), object.__new__(Record)])
    assert meter.loss == 3.0
    assert meter.step == 2


def test_means_are_over_the_last_twenty_steps():
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64)
    for number in range(50):
        meter.add(StepRecord(loss=float(number), seconds=1.0, waits=(0.0,)))
    assert meter.loss == sum(range(30, 50)) / 20


def test_nothing_is_claimed_before_the_first_step():
    progress = Meter(10, 100, 64).progress(NOW)
    assert progress.loss is None
    assert progress.images_per_second is None
    assert progress.data_wait_percent is None
    assert progress.estimated_completion_time is None


@pytest.mark.parametrize(
    ("waits", "rank"),
    [
        ((0.0, 0.0, 0.5, 0.0), 2),
        ((0.3, 0.3, 0.31, 0.3), None),
        ((0.5, 0.5, 0.0, 0.0), 0),
        ((0.04, 0.0), None),
        ((0.4,), None),
    ],
    ids=["one waits", "all wait", "half of them wait", "hardly worth a word", "there is but one"],
)
def test_a_rank_is_named_that_the_others_wait_for(waits, rank):
    meter = Meter(steps_per_epoch=10, total_steps=100, images_per_step=64)
    meter.add(StepRecord(loss=1.0, seconds=1.0, waits=waits))
    assert meter.progress(NOW).slowest_rank == rank
