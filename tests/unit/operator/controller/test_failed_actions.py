"""Whatever action fails, and however: its condition is False with the server's words, and it is tried again in time."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest

from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.status import ElasticStatus, Replacement
from arcface_operator.decision import plan
from arcface_operator.decision.observation import NO_ATTEMPT
from arcface_operator.kubernetes import outcomes
from arcface_operator.kubernetes.client import FIELD_MANAGER, IN_FLIGHT, ApiError, Unreachable
from arcface_operator.manifests.workload import QueueView, WorkloadView
from support.builders.views import ASCEND, SETTINGS, ago, make_ended, make_evaluator, make_worker
from support.fakes.failing_cluster import UID, Controller, FailingCluster, body

WORDS = "the server's words"
RETRY_AFTER = 90.0
LONG = 100.0
"""Seconds, past every pause, and far from every deadline."""
TWO = {"workers": {"replicas": 2}}
EVALUATED: dict[str, Any] = {"evaluation": {"claimName": "sets", "sets": ["lfw"]}}
TEMPLATE = {"evaluation": {**EVALUATED["evaluation"], "template": {"spec": {"nodeSelector": {"disk": "fast"}}}}}
KUEUE = {**TWO, "scheduling": {"gang": "kueue", "queue": "npu"}}
VOLCANO = {"scheduling": {"gang": "volcano", "queue": "npu"}}
TABLE = {"workers": ASCEND, "training": {"precision": "fp32"}}
TTL = {"runPolicy": {"ttlSecondsAfterFinished": 0}}
SUSPEND = {**TWO, "suspend": True}
ENDED = tuple(make_ended(index, 2, owner=UID) for index in range(2))


def workers(attempt: int = 2, **fields: Any) -> tuple[Any, ...]:
    return tuple(make_worker(index, attempt, owner=UID, **fields) for index in range(2))


def with_cards() -> tuple[Any, ...]:
    """Two pods with two cards each."""

    def written(index: int) -> str:
        cards = [
            {"device_id": str(card), "device_ip": f"192.168.{101 + card}.{2 + index}", "super_device_id": "0"}
            for card in range(2)
        ]
        return json.dumps({"server_id": f"10.0.0.{11 + index}", "super_pod_id": -2, "devices": cards})

    return tuple(
        replace(view, annotations={SETTINGS.device_annotation: written(index)}) for index, view in enumerate(workers())
    )


@dataclass(frozen=True)
class Kind:
    """A kind of action, where it is taken, and what depends on it."""

    verb: str
    what: str
    condition: str
    job: dict[str, Any]
    pods: tuple[Any, ...] = ()
    found: dict[str, Any] = field(default_factory=dict)
    away: frozenset[str] = frozenset()
    objects: tuple[Any, ...] | None = None
    lacks: tuple[str, ...] = ()
    queue: QueueView | None = None

    def controller(self, error: Exception | None) -> Controller:
        """With requests of this kind failing."""
        seen = dict(self.found), self.away, self.objects, self.lacks, self.queue
        cluster = FailingCluster(self.pods, self.verb, self.what, error, *seen)
        return Controller(cluster, self.job)


def found(path: str, uid: str, **metadata: Any) -> dict[str, Any]:
    return {path: {"metadata": {"name": path.rsplit("/", 1)[1], "uid": uid, **metadata}}}


def owned(uid: str, kind: str = KIND, name: str = "quick") -> dict[str, Any]:
    return {
        "ownerReferences": [{"controller": True, "uid": uid, "kind": kind, "name": name, "apiVersion": API_VERSION}]
    }


GROUP = found("podgroups/quick", "g", **owned(UID))
POD = found("pods/quick-worker-0", "worker-0-2")
BY_CREATION = [{"manager": FIELD_MANAGER, "operation": "Update"}]
CREATED = found("configmaps/quick-config", "c", managedFields=BY_CREATION, resourceVersion="7", **owned(UID))
OLD = found("pods/quick-worker-0", "worker-0-1")
JOB = found("arcfacetrainingjobs/quick", UID)
WORKLOAD = found("workloads/quick-0", "w")
SPARE = found("pods/quick-spare-2", "spare")
STUCK = workers(1, leaves_at=ago(999), node="node-7")
FIRST, EVALUATOR = "quick-worker-0", "quick-evaluate"


def queue(*conditions: str) -> QueueView:
    """Kueue has a Workload of the gang, of which these conditions hold."""
    workload = WorkloadView(
        name="quick-0",
        uid="w",
        version="7",
        generation=1,
        owner=UID,
        component="worker",
        evaluation=None,
        is_leaving=False,
        is_active=True,
        assignment=None,
        conditions={kind: {"type": kind, "status": "True"} for kind in conditions},
    )
    return QueueView(workloads={"worker": workload})


def small_gang(*spares: Any) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """A job that trains with two of its three pods and looks for room for the third, and its pods."""
    size = ElasticStatus(attempt=2, pods=2, changed_at=ago(SETTINGS.grow_seconds))
    job = body("Training", {"elastic": size}, workers={"replicas": 3, "minReplicas": 2})
    return job, (*workers(), *spares)


NEW = {"launch": 1, "replacement": Replacement(pod=1, launch=1), "restarted_at": ago(1)}
WITH_NEW = (
    make_worker(0, 2, owner=UID),
    make_worker(1, 2, owner=UID, phase="Pending", annotations={LAUNCH_ANNOTATION: "1"}),
)
ENDED_SPARE = make_ended(2, NO_ATTEMPT, name="quick-spare-2", uid="spare", owner=UID, created=ago(999))

KINDS = {
    "service": Kind("apply", "Service", "Ready", body(None, **TWO)),
    "service that is not there": Kind("create", "Service", "Ready", body(None, **TWO), lacks=("Service",)),
    "configuration that was created": Kind("edit", "quick-config", "Ready", body("Restarting", **TWO), found=CREATED),
    "configuration": Kind("apply", "ConfigMap", "Ready", body("Pending", **TWO)),
    "pod group": Kind("apply", "PodGroup", "Ready", body("Pending", **TWO, **VOLCANO)),
    "trial": Kind("try", "PodTemplate", "Ready", body(None, **TWO, **TEMPLATE)),
    "pod": Kind("create", "Pod", "Ready", body("Queued", **TWO)),
    "pod of the next attempt": Kind("create", "Pod", "Ready", body("Restarting", **TWO)),
    "removal of an old pod": Kind("delete", FIRST, "Ready", body("Restarting", **TWO), workers(1), OLD),
    "removal by force": Kind("delete", FIRST, "Ready", body("Restarting", **TWO), STUCK, OLD, frozenset({"node-7"})),
    "table": Kind("apply", "table", "RankTableReady", body("Starting", **TABLE), with_cards()),
    "table's annotation": Kind("merge", FIRST, "RankTableReady", body("Starting", **TABLE), with_cards(), POD),
    "table taken back": Kind("apply", "table", "RankTableReady", body("Restarting", **TABLE), workers(1)),
    "repair": Kind("apply", "Service", "Ready", body("Training", **TWO), workers(), objects=()),
    "repair of a table": Kind("apply", "table", "RankTableReady", body("Training", **TABLE), with_cards(), objects=()),
    "scheduler's annotation": Kind("merge", FIRST, "Training", body("Starting", **TWO), workers(annotations={}), POD),
    "launch's annotation": Kind("merge", FIRST, "Training", body("Restarting", NEW, **TWO), WITH_NEW, POD),
    "spare pod": Kind("create", "Pod", "FullSize", *small_gang()),
    "removal of a spare pod": Kind("delete", "quick-spare-2", "FullSize", *small_gang(ENDED_SPARE), SPARE),
    "workload": Kind("create", "Workload", "Ready", body("Queued", **KUEUE), queue=QueueView(workloads={})),
    "workload of before": Kind(
        "delete", "quick-0", "Ready", body("Queued", **KUEUE), found=WORKLOAD, queue=queue("Finished")
    ),
    "workload's status": Kind(
        "merge", "status", "Ready", body("Training", **KUEUE), workers(), queue=queue("Admitted")
    ),
    "suspension": Kind("delete", FIRST, "Suspended", body("Training", **SUSPEND), workers(), POD),
    "suspension's pod group": Kind("delete", "quick", "Suspended", body("Training", **SUSPEND, **VOLCANO), (), GROUP),
    "pod after the end": Kind("delete", FIRST, "Ready", body("Failed", **TWO), workers(), POD),
    "pod group after the end": Kind("delete", "quick", "Ready", body("Succeeded", **TWO, **VOLCANO), ENDED, GROUP),
    "the job itself": Kind("delete", "quick", "Ready", body("Failed", **TWO, **TTL), (), JOB),
    "idle rank pod": Kind(
        "delete",
        FIRST,
        "Evaluated",
        body("Evaluating", {"attempt": 3}, **TWO, **EVALUATED),
        (*workers(), make_evaluator(attempt=3, owner=UID)),
        POD,
    ),
}
ERRORS: dict[str, Exception] = {
    **{str(status): ApiError(status, WORDS, "Reason") for status in (400, 403, 404, 409, 422, 500, 503)},
    "429": ApiError(429, WORDS, "TooManyRequests", retry_after_seconds=RETRY_AFTER),
    "unreachable": Unreachable(WORDS),
}
LASTING = {"400", "403", "404", "422"}


def is_gone(kind: Kind, error: str) -> bool:
    """What is to go, or to be told, and is not there, or is another one by now: there is nothing to tell of."""
    is_newer = error == "409" and kind is KINDS["workload's status"]
    return is_newer or (error == "404" and kind.verb in {"delete", "merge"})


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_action_is_told_by_its_condition_and_tried_again_in_time(kind: str, error: str) -> None:
    case = KINDS[kind]

    async def play() -> None:
        controller = case.controller(ERRORS[error])
        await controller.look()
        first = controller.tries()
        assert first >= 1
        if is_gone(case, error):
            return
        told = controller.condition(case.condition)
        assert WORDS in told["message"]
        assert (told["status"], told["reason"]) == ("False", "Refused" if error in LASTING else "Unavailable")
        await controller.look(after=RETRY_AFTER - 1 if error == "429" else 0.4)
        assert controller.tries() == first, "events do not bring it forward"
        await controller.look(after=LONG)
        assert controller.tries() > first
        controller.cluster.error = None
        before = controller.tries()
        await controller.look(after=LONG)
        assert controller.tries() > before
        told = controller.condition(case.condition)
        assert WORDS not in told["message"]
        assert told["reason"] not in {"Refused", "Unavailable"}

    asyncio.run(play())


READS: dict[str, tuple[str, dict[str, Any], tuple[Any, ...], str]] = {
    "pod groups of a suspended job": ("podgroups", body("Training", **SUSPEND, **VOLCANO), workers(), "delete"),
    "pod groups after the end": ("podgroups", body("Failed", **TWO, **VOLCANO), workers(), "delete"),
    "queue of a suspended job": ("queue", body("Restarting", suspend=True, **KUEUE), workers(1), "delete"),
    "claims": ("prerequisites", body(None, **TWO), (), ""),
    "claims of the next attempt": ("prerequisites", body("Restarting", **TWO), (), ""),
}
"""What is read, where, and what is done without it."""


@pytest.mark.parametrize("error", ["403", "429", "500", "unreachable"])
@pytest.mark.parametrize("kind", READS)
def test_what_cannot_be_read_is_told_and_keeps_nothing_from_being_done_that_does_not_need_it(
    kind: str, error: str
) -> None:
    what, job, pods, deed = READS[kind]

    async def play() -> None:
        cluster = FailingCluster(pods, "read", what, ERRORS[error])
        controller = Controller(cluster, job)
        await controller.look()
        told = controller.condition("Ready")
        assert WORDS in told["message"]
        assert (told["status"], told["reason"]) == ("False", "Refused" if error in LASTING else "Unavailable")
        writes = [asked for asked in cluster.asked if not asked.endswith((" status", " Event"))]
        assert [asked.split()[0] for asked in writes] == [deed] * len(writes)
        assert bool(writes) == bool(deed)
        cluster.error = None
        await controller.look(after=LONG)
        assert WORDS not in controller.condition("Ready")["message"]
        assert deed or "create Pod" in cluster.asked

    asyncio.run(play())


def test_a_suspension_asks_nobody_about_cards() -> None:
    pods, lost = workers(leaves_at=ago(999), node="node-7"), frozenset({"node-7"})
    cluster = FailingCluster(pods, "read", "configmaps", ERRORS["500"], POD, lost)
    looked_at(cluster, body("Training", workers=ASCEND, suspend=True))
    assert "delete quick-worker-0" in cluster.asked


def looked_at(cluster: FailingCluster, job: dict[str, Any]) -> Controller:
    """After one look."""

    async def play() -> Controller:
        controller = Controller(cluster, job)
        await controller.look()
        return controller

    return asyncio.run(play())


def test_no_kind_of_request_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    met, failure_of = set(), outcomes.failure_of

    def noted(job: Any, action: plan.Request, error: Exception) -> Any:
        met.add(type(action))
        return failure_of(job, action, error)

    monkeypatch.setattr(outcomes, "failure_of", noted)
    for case in KINDS.values():
        asyncio.run(case.controller(ERRORS["500"]).look())
    assert met == set(get_args(plan.Request))


@pytest.mark.parametrize("error", ERRORS)
def test_an_event_that_cannot_be_written_keeps_nothing_from_being_done(error: str) -> None:
    controller = looked_at(FailingCluster((), "create", "Event", ERRORS[error]), body(None, **TWO))
    assert controller.condition("Ready")["reason"] == "Creating"
    asked = controller.cluster.asked
    assert (asked.count("create Pod"), asked.count("create Event")) == (2, 1)


def test_creations_start_slowly_after_a_failure_and_stop_at_the_next() -> None:
    async def play() -> list[int]:
        cluster = FailingCluster((), "create", "Pod", ERRORS["500"])
        controller = Controller(cluster, body("Pending", workers={"replicas": 64}))
        tries = []
        for _ in range(2):
            await controller.look(after=LONG)
            tries.append(controller.tries())
        return tries

    assert asyncio.run(play()) == [IN_FLIGHT, IN_FLIGHT + 1]


def test_what_is_to_go_does_not_wait_for_what_cannot_be_written() -> None:
    case = KINDS["table taken back"]
    cluster = FailingCluster(case.pods, case.verb, case.what, ERRORS["422"])
    controller = looked_at(cluster, case.job)
    assert controller.condition("RankTableReady")["reason"] == "Refused"
    assert "delete quick-worker-0" in cluster.asked


def test_pods_that_are_to_go_do_not_wait_until_kueue_can_be_told_something() -> None:
    async def play() -> None:
        controller = KINDS["workload's status"].controller(ERRORS["429"])
        await controller.look()
        controller.cluster.pods = tuple(make_ended(index, 2, 1, owner=UID) for index in range(2))
        for _ in range(2):
            await controller.look(after=1.0)
        assert {f"delete quick-worker-{index}" for index in range(2)} <= set(controller.cluster.asked)
        assert controller.tries() == 1

    asyncio.run(play())


def test_pods_are_not_told_of_a_table_that_is_not_there() -> None:
    case = KINDS["table"]
    cluster = FailingCluster(case.pods, case.verb, case.what, ERRORS["422"])
    looked_at(cluster, case.job)
    assert [asked for asked in cluster.asked if asked.startswith("merge")] == []


EXISTS = ApiError(409, "pods already exists", "AlreadyExists")


def test_a_pod_that_is_said_to_exist_and_is_not_there_is_tried_again_and_not_done() -> None:
    controller = looked_at(FailingCluster((), "create", "Pod", EXISTS), body("Pending", **TWO))
    assert controller.tries() == 2 * 2
    ready = controller.condition("Ready")
    assert (ready["reason"], ready["message"]) == (
        "Unavailable",
        "Pod quick-worker-0 is said to exist and is not there",
    )


def test_an_object_that_comes_in_between_is_no_reason_to_make_pods_without_it() -> None:
    controller = looked_at(FailingCluster((), "apply", "ConfigMap", EXISTS), body("Pending", **TWO))
    assert controller.condition("Ready")["reason"] == "Unavailable"
    assert "create Pod" not in controller.cluster.asked


CONFIG = "configmaps/quick-config"
BORN = "2026-11-25T11:00:00Z"
LEAVING = {"creationTimestamp": BORN, "deletionTimestamp": BORN, "finalizers": ["example.com/keep"]}


def born(job: dict[str, Any]) -> dict[str, Any]:
    return {**job, "metadata": {**job["metadata"], "creationTimestamp": BORN}}


@pytest.mark.parametrize(
    ("there", "reason", "words"),
    [
        pytest.param(
            found(CONFIG, "x", creationTimestamp=BORN, **owned("uid-0")),
            "Unavailable",
            "ConfigMap quick-config of another job of this name is still to go",
            id="of a job that may be younger",
        ),
        pytest.param(
            found(CONFIG, "x", **LEAVING, **owned("uid-0")),
            "Unavailable",
            "is still to go, for which it waits on its finalizers example.com/keep",
            id="an earlier job's that leaves",
        ),
        pytest.param(
            found(CONFIG, "x", deletionTimestamp="2026-11-25T11:00:00Z", **owned(UID)),
            "Unavailable",
            "ConfigMap quick-config is being deleted",
            id="ours that leaves",
        ),
        pytest.param(
            found(CONFIG, "x", **owned("uid-9", "Deployment", "web")),
            "Refused",
            "ConfigMap quick-config exists and is not this job's; remove it",
            id="another's",
        ),
        pytest.param(found(CONFIG, "x"), "Refused", "exists and is not this job's; remove it", id="nobody's"),
    ],
)
def test_a_namesake_of_what_pods_need_is_left_alone(there: dict[str, Any], reason: str, words: str) -> None:
    controller = looked_at(FailingCluster(found=there), born(body("Pending", **TWO)))
    ready = controller.condition("Ready")
    assert ready["reason"] == reason
    assert words in ready["message"]
    assert not {"apply ConfigMap", "create Pod"} & set(controller.cluster.asked)


@pytest.mark.parametrize("path", [CONFIG, "services/quick"])
def test_what_an_earlier_job_has_left_and_nobody_deletes_becomes_the_jobs(path: str) -> None:
    there = found(path, "x", creationTimestamp="2026-11-25T10:59:59Z", **owned("uid-0"))
    controller = looked_at(FailingCluster(found=there), born(body("Pending", **TWO)))
    assert controller.cluster.asked.count("create Pod") == 2


def test_a_job_that_is_made_anew_waits_until_the_pods_of_the_earlier_one_have_left() -> None:
    old = tuple(make_worker(index, 0, owner="uid-0", uid=f"old-{index}", leaves_at=ago(-60)) for index in range(2))

    async def play() -> None:
        controller = Controller(FailingCluster(old), body(None, **TWO))
        await controller.look()
        ready, message = controller.condition("Ready"), "pod quick-worker-0 of an earlier job of this name is to leave"
        assert (ready["reason"], ready["message"]) == ("PodsLeaving", message)
        assert "create Pod" not in controller.cluster.asked
        controller.cluster.pods = ()
        await controller.look()
        assert controller.cluster.asked.count("create Pod") == 2

    asyncio.run(play())


def test_a_servers_wish_outlasts_what_else_fails_meanwhile() -> None:
    job, pods = small_gang()

    async def play() -> None:
        cluster = FailingCluster(pods, "create", "Pod", ERRORS["429"])
        controller = Controller(cluster, job)
        await controller.look()
        assert controller.tries() == 1
        cluster.verb, cluster.what, cluster.error = "merge", FIRST, ERRORS["500"]
        cluster.pods = workers(annotations={})
        await controller.look(after=2.0)
        assert controller.tries() == 1, "something else fails"
        cluster.error = None
        await controller.look(after=RETRY_AFTER - 3)
        assert cluster.asked.count("create Pod") == 1
        await controller.look(after=LONG)
        assert cluster.asked.count("create Pod") > 1

    asyncio.run(play())


def test_what_was_refused_of_an_earlier_job_of_the_name_does_not_hold_up_the_new_one() -> None:
    async def play() -> None:
        controller = Controller(FailingCluster((), "create", "Pod", ERRORS["403"]), body("Pending", **TWO))
        for _ in range(5):
            await controller.look(after=LONG)
        before = controller.tries()
        controller.jobs.delete(body("Pending", **TWO))
        anew = body(None, **TWO)
        anew["metadata"] |= {"uid": "uid-2", "resourceVersion": "2"}
        controller.jobs.upsert(anew)
        await controller.look()
        assert controller.tries() > before

    asyncio.run(play())
