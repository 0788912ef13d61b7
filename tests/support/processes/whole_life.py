"""A job's whole life: a crash, a restart, a suspension while it trains, another while it is evaluated, its end.

What happens to a pod follows from its attempt alone, so that a life goes the same way however often its operator dies.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, RANK_INDEX_LABEL
from support.processes.release_pods import Voices
from support.processes.training_jobs import TrainingJobs
from support.waiting import wait_until
from testbed.fake_nodes.scripts import Chooser, Ending, Manifest, Script, label_of

QUICK = {"settleSeconds": 0.3, "checkSeconds": 0.2}
"""Settings for lives, of which there are many."""
SPEC: dict[str, Any] = {
    "workers": {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 1},
    "training": {"precision": "fp32"},
    "evaluation": {"claimName": "faces", "sets": ["lfw"]},
    "runPolicy": {"cleanPodPolicy": "All"},
}
CRASHES, STOPS_TRAINING, TRAINS, STOPS_EVALUATING, EVALUATES = range(5)
"""Attempts, by what befalls them."""
SECONDS = 240.0
"""For one step of a life whose operator dies at each of its writes."""


def by_attempt(voices: Voices) -> Chooser:
    """Scripts of the pods of a life."""

    def choose(pod: Manifest) -> Script:
        script, attempt = voices.at_work(pod), int(label_of(pod, ATTEMPT_LABEL))
        if script.runs is not None:
            return script
        if attempt == CRASHES and label_of(pod, RANK_INDEX_LABEL) == "1":
            return replace(script, runs=0.3, ending=Ending(exit_code=1))
        is_last = attempt in {TRAINS, EVALUATES}
        return replace(script, runs=0.3, ending=voices.end(pod)) if is_last else script

    return choose


def suspend(jobs: TrainingJobs) -> None:
    """The job rests, and goes on."""
    jobs.patch(suspend=True)
    jobs.wait_for("Suspended", seconds=SECONDS)
    jobs.patch(suspend=False)


def live(jobs: TrainingJobs, trouble: Callable[[TrainingJobs], None] = suspend, **spec: Any) -> dict[str, Any]:
    """Have a job live its life; its last status, when all of its pods are gone.

    Args:
        jobs: where it lives.
        trouble: what interrupts its training.
        spec: what it has beside the fields of SPEC.
    """
    jobs.create(**SPEC, **spec)
    for attempt, phase, interrupt in ((STOPS_TRAINING, "Training", trouble), (STOPS_EVALUATING, "Evaluating", suspend)):
        jobs.wait_until(is_at(attempt, phase), seconds=SECONDS)
        interrupt(jobs)
    status = jobs.wait_for("Succeeded", seconds=SECONDS)
    wait_until(lambda: not jobs.pods(), SECONDS)
    return status


def is_at(attempt: int, phase: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a status is in a phase of an attempt; one that has gone astray ends the wait."""

    def is_there(status: dict[str, Any]) -> bool:
        assert status.get("attempt", 0) <= attempt, status
        assert status.get("phase") != "Failed", status
        return (status.get("attempt"), status.get("phase")) == (attempt, phase)

    return is_there


def assert_it_went_well(status: dict[str, Any]) -> None:
    """One crash, one restart, everything taken up where it was, and a result."""
    assert (status["attempt"], status["restarts"], status["countedRestarts"]) == (EVALUATES, 1, 1)
    assert status["failure"]["exitCode"] == 1
    assert (status["checkpoint"]["step"], status["checkpoint"]["resumedFromStep"]) == (1400, 70)
    assert status["evaluation"]["results"][0]["accuracy"] == 0.998
