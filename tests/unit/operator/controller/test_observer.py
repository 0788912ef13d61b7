"""Whom the observer asks how far a gang is, and what it takes for an answer."""

import asyncio
from typing import Any

import pytest

from arcface_operator.controller.jobs import JobTracker
from arcface_operator.controller.observer import Observer
from arcface_operator.controller.progress_poller import Answer, Question
from arcface_operator.decision.answers.sighting import Reach, Sighting
from arcface_operator.decision.observation import Observation, PodView
from arcface_operator.kubernetes.client import JobRef
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS, make_ended, make_report, make_worker
from support.decision_table import status_in
from support.fakes.kueue import NoQueues
from support.fakes.words import Listener

UID = "uid-1"
REF = JobRef("default", "quick")


class Children:
    """Pods that are there."""

    def __init__(self, *pods: PodView) -> None:
        self.pods = pods

    def of(self, _ref: JobRef) -> list[PodView]:
        return list(self.pods)


class Poller:
    """Answers at once."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def poll(self, _ref: JobRef, question: Question) -> None:
        self.asked.append(question)

    def take(self, _ref: JobRef, question: Question) -> Answer:
        seen = Sighting(reach=Reach.ANSWERS, endpoint=question.endpoint, since=NOW)
        return Answer(question, seen, make_report(7))


def observed(*pods: PodView, phase: str = "Training") -> tuple[Observation, list[Question]]:
    job = make_job(uid=UID, workers={"replicas": 2})
    job = job.model_copy(update={"status": status_in(phase)})
    poller, nothing = Poller(), Any
    parts: Any = {"api": nothing, "prerequisites": nothing, "queues": NoQueues(), "device_faults": nothing}
    parts["listener"] = Listener()
    observer = Observer(**parts, pods=Children(*pods), poller=poller, settings=SETTINGS, now=lambda: NOW)
    return asyncio.run(observer.observe(job, JobTracker(REF, NOW))), poller.asked


def worker(index: int, attempt: int = 2, **fields: Any) -> PodView:
    return make_worker(index, attempt, owner=UID, **fields)


def test_the_first_pod_of_the_attempt_is_asked_for_its_own_report() -> None:
    seen, (question,) = observed(worker(0), worker(1))
    assert (question.address, question.job_uid, question.attempt) == ("10.244.0.1", UID, 2)
    assert seen.report == make_report(7)
    assert seen.sighting == Sighting(reach=Reach.ANSWERS, endpoint="10.244.0.1:9400", since=NOW)


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(worker(0, 1), id="of an earlier attempt"),
        pytest.param(make_worker(0, 2, owner="uid-0"), id="of an earlier job of this name"),
        pytest.param(worker(0, phase="Pending", address="10.244.0.1"), id="no container runs"),
        pytest.param(worker(0, address=None), id="no address"),
        pytest.param(make_ended(0, 2, owner=UID), id="ended"),
    ],
)
def test_a_pod_that_cannot_answer_for_the_attempt_is_not_asked(pod: PodView) -> None:
    seen, asked = observed(pod, worker(1))
    assert (asked, seen.report, seen.sighting) == ([], None, None)
