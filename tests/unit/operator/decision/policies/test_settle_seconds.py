"""How long a failed pod's peers are waited for; what is waited for at all stands in the table of `test_decide_gang`."""

from arcface_operator.decision.observation import PodView
from support.builders.plans import plan_in
from support.builders.views import ago, make_ended, make_worker


def seconds_left(*pods: PodView) -> float | None:
    plan = plan_in("Training", {"pods": pods}, workers={"replicas": len(pods)})
    return plan.look_again_seconds if plan.status.phase == "Training" else None


def test_an_end_of_unknown_time_is_not_waited_for() -> None:
    assert seconds_left(make_worker(0), make_ended(1, code=1, at=None)) is None


def test_the_time_runs_from_the_first_failure() -> None:
    assert seconds_left(make_worker(0), make_ended(1, code=1, at=ago(0.5)), make_ended(2, code=1, at=ago(0))) == 1.5


def test_a_clock_that_is_a_little_ahead_is_waited_for_and_one_that_is_far_ahead_is_not() -> None:
    assert seconds_left(make_worker(0), make_ended(1, code=1, at=ago(-1.5))) == 3.5
    assert seconds_left(make_worker(0), make_ended(1, code=1, at=ago(-3))) is None
