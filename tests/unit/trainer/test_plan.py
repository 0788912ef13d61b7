import math

import pytest

from arcface_api.resource.spec import ScheduleSpec
from arcface_trainer.plan import Schedule


def test_polynomial_rates_of_ms1mv2():
    """S1: 5,822,653 images at 1024 a step, 20 epochs, rate 0.1."""
    schedule = Schedule(ScheduleSpec(), 0.1, steps_per_epoch=5_822_653 // 1024, epochs=20)
    assert schedule.total_steps == 113_720
    assert schedule.rate(1) == pytest.approx(0.09999912, abs=1e-8)
    assert schedule.rate(5686) == pytest.approx(0.095)
    assert schedule.rate(56_860) == pytest.approx(0.05)
    assert schedule.rate(113_720) == 0


def test_warmup_grows_linearly_from_zero():
    schedule = Schedule(ScheduleSpec(warmup_epochs=2), 0.4, steps_per_epoch=10, epochs=10)
    assert [schedule.rate(step) for step in (0, 5, 10, 20)] == pytest.approx([0, 0.1, 0.2, 0.4])
    assert schedule.rate(60) == pytest.approx(0.2)


def test_cosine_is_half_way_at_the_middle():
    schedule = Schedule(ScheduleSpec(type="cosine"), 0.2, steps_per_epoch=10, epochs=10)
    assert schedule.rate(50) == pytest.approx(0.1)
    assert schedule.rate(25) == pytest.approx(0.1 * (1 + math.sqrt(0.5)))
    assert schedule.rate(100) == pytest.approx(0, abs=1e-12)


def test_steps_drop_after_their_epochs():
    """The seed's schedule: epochs 10, 16 and 21."""
    schedule = Schedule(ScheduleSpec(type="step", milestones=[10, 16, 21]), 0.08, steps_per_epoch=4, epochs=25)
    assert [schedule.rate(4 * epoch) for epoch in (0, 9, 10, 16, 21)] == pytest.approx(
        [0.08, 0.08, 0.008, 0.0008, 0.00008]
    )
    assert schedule.rate(39) == 0.08
