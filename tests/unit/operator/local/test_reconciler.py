"""A job on this machine: what the operator decides, with a user at the keyboard."""

from typing import Any

from arcface_api.resource.status import CheckpointStatus
from support.builders.jobs import make_job
from support.builders.views import ago, evaluator_report, make_report
from support.fakes.local_in_world import LocalInWorld

WORKERS = ("quick-worker-0", "quick-worker-1")
SAVED = CheckpointStatus(path="step-00000009", step=9, saved_at=ago(0), sha256="0" * 64)
STOPPED = make_report(9).model_copy(update={"checkpoint": SAVED}).to_json()


def training(**spec: Any) -> LocalInWorld:
    """A run that trains."""
    run = LocalInWorld(make_job(workers={"replicas": 2}, **spec))
    run.look()
    for name in WORKERS:
        run.world = run.world.started(name)
    run.look()
    run.report = make_report(7)
    look_later(run)
    assert run.status.phase == "Training"
    return run


def look_later(run: LocalInWorld, seconds: float = 1.0) -> bool:
    run.world = run.world.later(seconds)
    return run.look()


def done(run: LocalInWorld) -> LocalInWorld:
    for name in WORKERS:
        run.world = run.world.exited(name, 0)
    return run


def test_a_job_is_done_when_its_pods_have_done_all_steps() -> None:
    run = done(training())
    assert not look_later(run)
    assert run.status.phase == "Succeeded"
    assert look_later(run)


def test_the_evaluation_follows_in_a_pod_of_its_own() -> None:
    run = done(training(evaluation={"claimName": "sets", "sets": ["lfw"]}))
    run.report = None
    look_later(run)
    look_later(run)
    run.world = run.world.started("quick-evaluate", "node-0")
    look_later(run)
    look_later(run)
    assert run.status.phase == "Evaluating"
    run.world = run.world.exited("quick-evaluate", 0, evaluator_report(0.99))
    look_later(run)
    assert run.status.phase == "Succeeded"
    assert run.view.notes == ["training is done; evaluating lfw"]
    assert look_later(run)


def test_a_request_to_stop_suspends_the_job_and_waits_for_what_was_saved() -> None:
    run = training()
    run.stop.count = 1
    assert not look_later(run)
    assert all("deletionTimestamp" in pod["metadata"] for pod in run.world.pods.values())
    assert run.status.phase == "Training"
    for name in WORKERS:
        run.world = run.world.exited(name, 143, STOPPED)
    assert look_later(run)
    assert run.status.phase == "Suspended"
    assert run.status.checkpoint is not None
    assert run.status.checkpoint.step == 9
    assert run.view.notes == ["stopping; the ranks save their state (a second Ctrl-C kills them)"]
    assert not run.killed


def test_a_second_request_kills_the_pods() -> None:
    run = training()
    run.stop.count = 2
    look_later(run)
    assert run.killed


def test_a_request_before_anything_runs_ends_at_once() -> None:
    run = LocalInWorld(make_job(workers={"replicas": 2}))
    run.stop.count = 1
    assert run.look()
    assert (run.status.phase, run.world.pods) == ("Suspended", {})


def test_a_restart_is_told_with_the_log_of_the_pod_that_failed() -> None:
    run = training()
    run.world = run.world.exited("quick-worker-0", 1, "out of memory").exited("quick-worker-1", 1)
    look_later(run)
    assert run.status.phase == "Restarting"
    (note,) = run.view.notes
    assert note == ("attempt 1 follows: pod quick-worker-0: exit code 1: out of memory; log: logs/quick-worker-0-0.log")


def test_the_end_of_a_job_that_fails_is_left_to_the_command_to_tell() -> None:
    run = training()
    run.world = run.world.exited("quick-worker-1", 2, "bad")
    look_later(run)
    assert run.status.phase == "Failed"
    assert run.view.notes == []
    assert not look_later(run)
    run.world = run.world.swept()
    assert look_later(run)


def test_the_first_pod_is_asked_now_and_then() -> None:
    run = training()
    before = len(run.asked)
    for _ in range(10):
        look_later(run, 0.1)
    assert 1 <= len(run.asked) - before <= 2
    assert set(run.asked) == {"10.244.2.1"}


def test_progress_is_shown_when_it_changes() -> None:
    run = training()
    run.report = make_report(8)
    look_later(run)
    look_later(run)
    assert run.view.steps == [7, 8]
