"""Manifests as the API server returns them, reduced to what decisions are made on."""

from datetime import UTC, datetime
from typing import Any

import pytest

from arcface_operator.decision.fault_table.table import INIT_FAILED, POD_FAILED
from arcface_operator.decision.observation import Ended, Observation, view_claim, view_pod
from arcface_operator.manifests.worker_pod import build_worker_pod
from support.builders.jobs import make_job
from support.builders.views import SETTINGS, make_evaluator, make_worker
from support.fakes.cluster_world import World

LABELS = {"app.kubernetes.io/component": "worker", "arcface.io/rank-index": "3", "arcface.io/attempt": "2"}
MOMENT = datetime(2026, 11, 25, 12, 0, 5, tzinfo=UTC)
STAMP = "2026-11-25T12:00:05Z"


def pod(status: Any = None, *, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    default = {"name": "quick-worker-3", "uid": "u", "creationTimestamp": STAMP, "labels": LABELS}
    return {"metadata": {**default, **metadata}, "spec": spec or {}, "status": status or {}}


def terminated(name: str = "trainer", **fields: Any) -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": 0, **fields}}}


def waiting(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "state": {"waiting": fields}}


def test_a_pod_with_nothing_but_a_name() -> None:
    view = view_pod({"metadata": {"name": "p", "uid": "u", "creationTimestamp": STAMP}})
    assert (view.component, view.attempt, view.index, view.phase) == ("", -1, -1, "Pending")
    assert (view.address, view.node, view.owner, view.waiting, view.ended, view.leaves_at) == (None,) * 6
    assert not any((view.is_ready, view.is_leaving, view.is_disrupted))
    assert view.annotations == {}
    assert view.created == MOMENT


def test_a_running_pod() -> None:
    status = {
        "phase": "Running",
        "podIP": "10.244.0.7",
        "hostIP": "10.0.0.11",
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": "trainer", "ready": True, "state": {"running": {"startedAt": STAMP}}}],
    }
    view = view_pod(pod(status, spec={"nodeName": "node-1"}, annotations={"a": "b"}))
    assert (view.component, view.attempt, view.index) == ("worker", 2, 3)
    assert (view.phase, view.address, view.host_address, view.node) == ("Running", "10.244.0.7", "10.0.0.11", "node-1")
    assert view.is_ready
    assert (view.waiting, view.ended) == (None, None)
    assert view.annotations == {"a": "b"}


def test_our_own_pod_is_known_again() -> None:
    made = World(job=make_job(workers={"replicas": 2}, uid="j")).created(
        build_worker_pod(make_job(workers={"replicas": 2}, uid="j"), 1, 4, SETTINGS)
    )
    view = view_pod(made.pods["quick-worker-1"])
    assert (view.component, view.attempt, view.index, view.owner) == ("worker", 4, 1, "j")


@pytest.mark.parametrize("label", ["", "x", "-1", "1.5", " 1", "²", "1e3", "9" * 63])
def test_a_label_that_is_no_number_belongs_to_no_attempt(label: str) -> None:
    assert view_pod(pod(labels={**LABELS, "arcface.io/attempt": label})).attempt == -1


def test_only_the_controller_owns() -> None:
    references = [{"uid": "user"}, {"uid": "job", "controller": True}, {"uid": "other", "controller": False}]
    assert view_pod(pod(ownerReferences=references)).owner == "job"
    assert view_pod(pod(ownerReferences=references[:1])).owner is None


@pytest.mark.parametrize("stamp", ["2026-11-25T12:00:05Z", "2026-11-25T12:00:05.000000Z", "2026-11-25T13:00:05+01:00"])
def test_times_are_read_in_every_form(stamp: str) -> None:
    view = view_pod(pod(creationTimestamp=stamp, deletionTimestamp=stamp))
    assert view.created == view.leaves_at == MOMENT
    assert view.is_leaving


UNSCHEDULED = {"type": "PodScheduled", "status": "False"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param(
            {"conditions": [{**UNSCHEDULED, "reason": "Unschedulable", "message": "0/3 nodes"}]},
            "Unschedulable: 0/3 nodes",
            id="no node",
        ),
        pytest.param(
            {"conditions": [{**UNSCHEDULED, "reason": "SchedulingGated"}]}, "SchedulingGated", id="no message"
        ),
        pytest.param({"conditions": [UNSCHEDULED]}, "Unscheduled", id="no reason"),
        pytest.param(
            {"containerStatuses": [waiting("trainer", reason="ImagePullBackOff", message="no such image")]},
            "ImagePullBackOff: no such image",
            id="image",
        ),
        pytest.param(
            {"containerStatuses": [waiting("trainer", reason="ContainerCreating")]}, "ContainerCreating", id="soon"
        ),
        pytest.param(
            {
                "initContainerStatuses": [terminated("a"), waiting("b", reason="ErrImagePull", message="b")],
                "containerStatuses": [waiting("trainer", reason="PodInitializing")],
            },
            "ErrImagePull: b",
            id="what the container waits for comes first",
        ),
        pytest.param({"containerStatuses": [{"name": "trainer", "state": {}}]}, None, id="no state"),
        pytest.param({"containerStatuses": [{"name": "trainer"}]}, None, id="not even that"),
    ],
)
def test_why_a_pod_waits(status: dict[str, Any], reason: str | None) -> None:
    assert view_pod(pod(status)).waiting == reason


@pytest.mark.parametrize(
    ("spec", "conditions", "at"),
    [
        pytest.param({"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}, [], None, id="gated"),
        pytest.param({}, [], None, id="nobody has looked at it"),
        pytest.param({}, [{**UNSCHEDULED, "lastTransitionTime": STAMP}], None, id="no room"),
        pytest.param(
            {"nodeName": "node-1"},
            [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-25T13:00:00Z"}],
            datetime(2026, 11, 25, 13, 0, tzinfo=UTC),
            id="room",
        ),
        pytest.param({"nodeName": "node-1"}, [], MOMENT, id="put there by hand"),
    ],
)
def test_a_pod_has_room_once_it_has_a_node(spec: Any, conditions: Any, at: datetime | None) -> None:
    view = view_pod(pod({"conditions": conditions}, spec=spec))
    assert (view.waits_for_room, view.scheduled_at) == (at is None, at)


SIDECAR = {"name": "istio-proxy", "state": {"running": {}}}


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        pytest.param(
            {"containerStatuses": [terminated(reason="Completed", message="{}", finishedAt=STAMP)]},
            Ended(0, "Completed", "{}", MOMENT),
            id="done",
        ),
        pytest.param({"containerStatuses": [terminated(exitCode=137)]}, Ended(137, "", "", None), id="bare exit code"),
        pytest.param(
            {"phase": "Running", "containerStatuses": [SIDECAR, terminated(exitCode=3, reason="Error")]},
            Ended(3, "Error", "", None),
            id="sidecar lives on",
        ),
        pytest.param(
            {"phase": "Running", "containerStatuses": [terminated("istio-proxy", exitCode=1), {"name": "trainer"}]},
            None,
            id="sidecar died",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": [terminated("istio-proxy", exitCode=1), terminated(reason="C")]},
            Ended(0, "C", "", None),
            id="done, sidecar failed",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
            Ended(None, "Evicted", "low on memory", None),
            id="evicted without containers",
        ),
        pytest.param({"phase": "Failed"}, Ended(None, POD_FAILED, "", None), id="failed without a word"),
        pytest.param(
            {"phase": "Failed", "reason": ""}, Ended(None, POD_FAILED, "", None), id="failed with an empty word"
        ),
        pytest.param(
            {
                "phase": "Failed",
                "initContainerStatuses": [
                    terminated("a"),
                    terminated("fetch", exitCode=2, message="404", finishedAt=STAMP),
                ],
                "containerStatuses": [waiting("trainer", reason="PodInitializing")],
            },
            Ended(None, INIT_FAILED, "container fetch ended with exit code 2\n404", MOMENT),
            id="init container failed",
        ),
        pytest.param({"phase": "Pending", "initContainerStatuses": [terminated("a")]}, None, id="init container done"),
        pytest.param({"phase": "Unknown"}, None, id="unknown"),
    ],
)
def test_how_a_pod_ended(status: dict[str, Any], ended: Ended | None) -> None:
    assert view_pod(pod(status)).ended == ended


def test_an_evaluators_pod_is_judged_by_its_own_main_container() -> None:
    labels = {"app.kubernetes.io/component": "evaluator"}
    view = view_pod(
        pod({"containerStatuses": [terminated("trainer"), terminated("evaluator", exitCode=2)]}, labels=labels)
    )
    assert view.ended is not None
    assert view.ended.exit_code == 2
    assert (view.attempt, view.index) == (-1, -1)


@pytest.mark.parametrize(
    ("status", "is_disrupted"),
    [
        pytest.param({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}, True, id="condition"),
        pytest.param({"conditions": [{"type": "DisruptionTarget", "status": "False"}]}, False, id="taken back"),
        pytest.param({"reason": "Evicted", "containerStatuses": [terminated(exitCode=137)]}, True, id="older eviction"),
        pytest.param({"reason": "Preempting"}, True, id="for a critical pod"),
        pytest.param({"reason": "Terminated"}, True, id="node shut down"),
        pytest.param({"reason": "NodeLost"}, True, id="node lost"),
        pytest.param({"reason": "UnexpectedAdmissionError"}, False, id="refused"),
        pytest.param({"containerStatuses": [terminated(exitCode=137)]}, False, id="killed"),
    ],
)
def test_what_the_cluster_did_to_a_pod(status: dict[str, Any], is_disrupted: bool) -> None:
    assert view_pod(pod(status)).is_disrupted == is_disrupted


@pytest.mark.parametrize(
    ("claim", "phase", "modes"),
    [
        pytest.param({}, "Pending", (), id="nothing"),
        pytest.param({"spec": {"accessModes": ["ReadWriteMany"]}}, "Pending", ("ReadWriteMany",), id="asked for"),
        pytest.param(
            {
                "spec": {"accessModes": ["ReadWriteMany"]},
                "status": {"phase": "Bound", "accessModes": ["ReadWriteMany", "ReadWriteOnce"]},
            },
            "Bound",
            ("ReadWriteMany", "ReadWriteOnce"),
            id="bound",
        ),
    ],
)
def test_a_claim(claim: dict[str, Any], phase: str, modes: tuple[str, ...]) -> None:
    view = view_claim(claim, waits_for_pod=False)
    assert (view.phase, view.access_modes) == (phase, modes)


def test_the_pods_of_an_attempt_are_in_the_order_of_their_ranks() -> None:
    pods = (make_worker(10), make_worker(2, attempt=1), make_worker(9), make_evaluator(attempt=2))
    gangs = Observation(job=make_job(), pods=pods).gangs
    assert {gang: [pod.index for pod in found] for gang, found in gangs.items()} == {
        ("worker", 0): [9, 10],
        ("worker", 1): [2],
        ("evaluator", 2): [0],
    }


@pytest.mark.parametrize(
    ("truth", "reason", "expected"),
    [
        pytest.param("True", None, (True, "PreemptionByScheduler"), id="preempted"),
        pytest.param("True", "Preempting", (True, "Preempting"), id="the kubelet says more of it"),
        pytest.param("False", None, (False, None), id="not any more"),
    ],
)
def test_who_ends_a_pod_is_told_by_its_disruption(truth: str, reason: str | None, expected: Any) -> None:
    condition = {"type": "DisruptionTarget", "status": truth, "reason": "PreemptionByScheduler"}
    status = {"phase": "Running", "conditions": [condition], **({"reason": reason} if reason else {})}
    view = view_pod(pod(status))
    assert (view.is_disrupted, view.reason) == expected
