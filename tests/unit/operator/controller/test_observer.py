"""Whom the observer asks how far a gang is, and what it takes for an answer."""

import asyncio
import json
from typing import Any

import pytest

from arcface_operator.controller.jobs import JobTracker
from arcface_operator.controller.observer import Observer
from arcface_operator.controller.progress_poller import Answer, Question
from arcface_operator.decision.answers.sighting import Reach, Sighting
from arcface_operator.decision.observation import Observation, PodView
from arcface_operator.kubernetes.client import ApiError, JobRef, Unreachable
from support.builders.jobs import make_job
from support.builders.views import ASCEND, NOW, SETTINGS, ago, make_ended, make_report, make_worker
from support.decision_table import status_in
from support.fakes.failing_cluster import Controller, FailingCluster, body
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

    def error_of(self, _namespace: str) -> None:
        return None


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


WORDS = "the server's words"
CARDS = {"huawei.com/Ascend910-Fault": '[{"fault_type": "NodeUnhealthy"}]'}
PLUGIN = {"DeviceInfoCfg": json.dumps({"DeviceInfo": {"DeviceList": CARDS}})}


def blamed_gang(error: Exception) -> tuple[FailingCluster, Controller]:
    """A gang with cards whose program is about to be blamed, and faults of cards that cannot be read."""
    pods = tuple(make_ended(index, 2, code=1, at=ago(9), owner=UID) for index in range(2))
    found = {f"mindx-dl-deviceinfo-node-{index}": {"data": PLUGIN} for index in range(2)}
    cluster = FailingCluster(pods, "read", "configmaps", error, found)
    return cluster, Controller(cluster, body("Training", workers=ASCEND, training={"precision": "fp32"}))


def verdict(controller: Controller) -> tuple[str, int, str]:
    """Phase, restarts that count, and what is held to be the cause."""
    status = (controller.jobs.body(REF) or {})["status"]
    return status["phase"], status["countedRestarts"], status.get("failure", {}).get("reason", "")


ERRORS = [ApiError(500, WORDS), ApiError(429, WORDS, retry_after_seconds=1), Unreachable(WORDS)]


@pytest.mark.parametrize("error", ERRORS, ids=["500", "429", "timeout"])
def test_while_faults_of_cards_cannot_be_read_nobody_is_blamed_for_a_while_and_all_else_goes_on(
    error: Exception,
) -> None:
    async def play() -> None:
        cluster, controller = blamed_gang(error)
        _, counted, before = verdict(controller)
        for after in (0.0, 3.0, SETTINGS.check_seconds - 3.5):
            await controller.look(after)
            ready = controller.condition("Ready")
            assert (ready["status"], ready["reason"]) == ("False", "Unavailable")
            assert "reading faults of cards" in ready["message"]
            assert WORDS in ready["message"]
            assert ready["lastTransitionTime"] == "2026-11-25T12:00:00Z"
            assert verdict(controller) == ("Training", counted, before)
        await controller.look(0.5)
        assert verdict(controller) == ("Restarting", counted + 1, "Error")
        assert "delete quick-worker-0" in cluster.asked

    asyncio.run(play())


def test_a_card_whose_fault_can_be_read_after_all_explains_the_end() -> None:
    async def play() -> None:
        cluster, controller = blamed_gang(ERRORS[0])
        _, counted, _ = verdict(controller)
        await controller.look()
        cluster.error = None
        await controller.look(1.0)
        assert verdict(controller) == ("Restarting", counted, "DeviceFault")
        assert WORDS not in controller.condition("Ready")["message"]

    asyncio.run(play())


def test_a_suspension_does_not_wait_for_cards_that_cannot_be_read() -> None:
    async def play() -> None:
        cluster, controller = blamed_gang(ERRORS[0])
        await controller.look()
        wish = controller.jobs.body(REF) or {}
        metadata = {**wish["metadata"], "resourceVersion": "2"}
        controller.jobs.upsert({**wish, "metadata": metadata, "spec": {**wish["spec"], "suspend": True}})
        await controller.look(1.0)
        assert "delete quick-worker-0" in cluster.asked

    asyncio.run(play())


UNSEEN = [
    pytest.param(ApiError(403, WORDS), "Refused", id="forbidden"),
    pytest.param(ApiError(503, WORDS, retry_after_seconds=1), "Unavailable", id="503"),
    pytest.param(Unreachable(WORDS), "Unavailable", id="no answer"),
]


@pytest.mark.parametrize(("error", "reason"), UNSEEN)
@pytest.mark.parametrize(
    ("phase", "following"), [("Queued", "Starting"), ("Starting", "Restarting"), ("Training", "Restarting")]
)
def test_nothing_is_decided_by_pods_that_cannot_be_seen_any_more(
    phase: str, following: str, error: Exception, reason: str
) -> None:
    """What the cache has of them tells of ends, and of room, that may be long gone."""

    async def play() -> None:
        pods = tuple(make_ended(index, 2, code=1, at=ago(9), owner=UID) for index in range(2))
        cluster = FailingCluster(pods, "read", "pods", error)
        controller = Controller(cluster, body(phase, workers={"replicas": 2}))
        before = verdict(controller)
        for _ in range(3):
            await controller.look(3600.0)
            ready = controller.condition("Ready")
            assert (ready["status"], ready["reason"]) == ("False", reason)
            assert ready["message"] == f"reading pods: {WORDS}"
            assert verdict(controller) == before
        assert (cluster.asked, controller.queue.timers.keys()) == (["replace status"], {REF})
        cluster.error = None
        await controller.look(1.0)
        assert verdict(controller)[0] == following
        assert WORDS not in controller.condition("Ready")["message"]

    asyncio.run(play())


def test_a_suspension_waits_for_pods_that_cannot_be_seen_and_goes_on_where_it_was() -> None:
    async def play() -> None:
        cluster = FailingCluster((worker(0), worker(1)), "read", "pods", ApiError(403, WORDS))
        controller = Controller(cluster, body("Training", workers={"replicas": 2}, suspend=True))
        await controller.look()
        assert cluster.asked == ["replace status"]
        cluster.error = None
        await controller.look(1.0)
        assert "delete quick-worker-0" in cluster.asked
        cluster.pods, cluster.error = (), ApiError(403, WORDS)
        await controller.look(1.0)
        assert controller.condition("Suspended")["reason"] == "Suspending"
        cluster.error = None
        await controller.look(1.0)
        assert controller.condition("Suspended")["status"] == "True"

    asyncio.run(play())


def test_a_job_whose_pods_were_unseen_has_its_whole_time_to_get_somewhere_again() -> None:
    async def play() -> None:
        cluster = FailingCluster((worker(0), worker(1)), "read", "pods", ApiError(403, WORDS))
        controller = Controller(cluster, body("Training", workers={"replicas": 2}))
        await controller.look(7200.0)
        assert controller.reconciler.trackers[REF].since == cluster.now()

    asyncio.run(play())
