"""What a gang is told while it runs, and what it tells."""

import pytest

from arcface_api.contract.pod_environment import SCHEDULER_ANNOTATION
from arcface_api.resource.status import BestCheckpoint, PairResult, Verification
from support.builders.plans import plan_in
from support.builders.views import NOW, SETTINGS, ago, make_ended, make_report, make_worker


def test_ranks_learn_where_rank_0_is() -> None:
    told = {SCHEDULER_ANNOTATION: "10.244.0.1"}
    pods = (
        make_worker(0, annotations={}),
        make_worker(1, annotations={SCHEDULER_ANNOTATION: "10.9.9.9"}),
        make_worker(2),
    )
    plan = plan_in("Starting", {"pods": pods}, workers={"replicas": 3})
    assert [(action.name, action.uid, action.annotations) for action in plan.actions] == [
        ("quick-worker-0", "worker-0-0", told),
        ("quick-worker-1", "worker-1-0", told),
    ]


def test_a_rank_that_has_ended_is_not_told_any_more() -> None:
    pods = (make_worker(0), make_ended(1, annotations={}))
    assert plan_in("Training", {"pods": pods}).actions == ()


def test_ranks_are_not_told_of_a_rank_0_without_an_address() -> None:
    pods = (make_worker(0, address=None, annotations={}), make_worker(1, annotations={}))
    assert plan_in("Starting", {"pods": pods}).actions == ()


def test_a_single_pod_has_nobody_to_meet() -> None:
    assert plan_in("Starting", {"pods": (make_worker(0, annotations={}),)}, workers={"replicas": 1}).actions == ()


def test_progress_is_timed_by_the_operators_clock_and_only_when_a_step_is_new() -> None:
    new = plan_in("Training", {"report": make_report(8, updated_at=ago(-9999))}).status.progress
    assert (new.step, new.updated_at) == (8, NOW)
    old = plan_in("Training", {"report": make_report(7, updated_at=NOW)}).status.progress
    assert (old.step, old.updated_at) == (7, ago(50))


def test_a_verification_of_the_step_that_is_known_is_taken_in_and_changes_no_time() -> None:
    result = PairResult(dataset="lfw", accuracy=0.9, std=0.0, pairs=600)
    found = Verification(epoch=1, step=7, results=[result])
    best = BestCheckpoint(path="step-00000007", step=7, accuracy=0.9)
    progress = plan_in("Training", {"report": make_report(7, verification=found, best=best)}).status.progress
    assert (progress.verification, progress.best, progress.updated_at) == (found, best, ago(50))


def test_the_last_word_of_rank_0_is_kept() -> None:
    message = make_report(100).to_json()
    status = plan_in("Training", {"pods": (make_ended(0, message=message), make_ended(1, message="bye"))}).status
    assert (status.phase, status.progress.step) == ("Succeeded", 100)
    garbled = plan_in("Training", {"pods": (make_ended(0, message="{"), make_ended(1))}).status
    assert (garbled.phase, garbled.progress.step) == ("Restarting", 7)


def test_pods_are_counted_by_what_their_ranks_do() -> None:
    pods = (
        make_ended(0, is_ready=True),
        make_ended(1, code=1, at=ago(1)),
        make_worker(2),
        make_worker(3, is_ready=False),
    )
    workers = plan_in("Training", {"pods": pods}, workers={"replicas": 4}).status.workers
    assert (workers.desired, workers.ready, workers.succeeded, workers.failed) == (4, 1, 1, 1)
    assert workers.summary == "1/4"


def test_pods_whose_ranks_have_ended_get_a_moment_to_be_through_before_they_count_as_running() -> None:
    pods = tuple(make_ended(index, phase="Running") for index in range(2))
    early = plan_in("Succeeded", {"pods": pods}, {"completion_time": ago(0.5)})
    assert (early.actions, early.look_again_seconds) == ((), 1.5)
    late = plan_in("Succeeded", {"pods": pods}, {"completion_time": ago(2)})
    assert [action.name for action in late.actions] == ["quick-worker-0", "quick-worker-1"]


CLOCKS = {"runPolicy": {"stallSeconds": 600, "startupDeadlineSeconds": 900}}


@pytest.mark.parametrize(
    ("phase", "clock"), [("Starting", 900), ("Training", 600)], ids=["before its first step", "at work"]
)
@pytest.mark.parametrize("message", ["", make_report(7).to_json()], ids=["no report", "a report on the way"])
def test_a_first_pod_that_ends_well_before_the_last_step_does_not_leave_its_gang_for_ever(
    phase: str, clock: int, message: str
) -> None:
    """Its peers wait for it, or run another program, and nobody tells of steps any more."""
    over = clock + SETTINGS.settle_seconds
    for seconds, following in ((over - 1, phase), (over, "Restarting")):
        pods = (make_ended(0, code=0, at=ago(seconds), message=message), make_worker(1))
        status = plan_in(phase, {"pods": pods}, workers={"replicas": 2}, **CLOCKS).status
        assert status.phase == following
    assert status.failure is not None
    assert (status.failure.reason, status.failure.pod) == ("NoReport", "quick-worker-0")


@pytest.mark.parametrize("phase", ["Starting", "Training"])
def test_a_gang_whose_first_pod_has_told_of_the_last_step_waits_for_the_others(phase: str) -> None:
    pods = (make_ended(0, code=0, at=ago(90_000), message=make_report(100).to_json()), make_worker(1))
    status = plan_in(phase, {"pods": pods}, workers={"replicas": 2}, **CLOCKS).status
    assert (status.phase, status.restarts) == (phase, plan_in(phase, {}).status.restarts)
