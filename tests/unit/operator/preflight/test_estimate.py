"""The estimate of a whole job, against published figures."""

from typing import Any

import pytest

from arcface_operator.preflight.estimate import Estimate, estimate
from support.builders.jobs import make_job
from support.builders.training_sets import EIGHT, MS1MV2


def plan(**spec: Any) -> Estimate:
    return estimate(make_job(**spec).spec, MS1MV2)


def test_steps_are_those_of_the_published_schedule() -> None:
    found = plan(**EIGHT)
    assert found.steps_per_epoch == 5686
    assert found.total_steps == 113_720
    assert found.learning_rate == 0.1


def test_the_first_loss_is_that_of_the_published_logs() -> None:
    assert plan().initial_loss == pytest.approx(46.04, abs=0.01)


def test_no_first_loss_is_promised_where_weights_come_from_a_checkpoint() -> None:
    assert plan(model={"initFrom": {"claimName": "models"}}).initial_loss is None


def test_the_parts_are_those_of_one_job() -> None:
    found = plan(**EIGHT)
    assert found.parameters == 65_156_160
    assert [card.percent for card in found.cards] == [
        pytest.approx(100 * found.memory.total / size, abs=0.05) for size in (32 << 30, 64 << 30)
    ]
    assert plan(workers={"accelerator": "cpu"}).cards == []
