"""After a fault that is blamed on a node, the next pods prefer others for a while, and wait for none."""

from datetime import timedelta
from typing import Any

import pytest

from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Create
from support.builders.jobs import make_job
from support.builders.views import (
    NOW,
    SETTINGS,
    ago,
    make_ended,
    make_evaluator,
    make_prerequisites,
    make_worker,
    stored,
)
from support.decision_table import observation_in, status_in

PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def struck(pods: tuple[PodView, ...], **seen: Any) -> Any:
    """The status after a training with these pods."""
    job = make_job(workers={"replicas": 2}).model_copy(update={"status": status_in("Training", attempt=0)})
    return stored(decide(observation_in("Training", job, {"pods": pods, **seen}), SETTINGS, NOW).status)


@pytest.mark.parametrize(
    ("pods", "seen", "expected"),
    [
        pytest.param((make_ended(0, code=None, reason="UnexpectedAdmissionError"),), {}, ["node-0"], id="refused"),
        pytest.param((make_ended(0, code=None, reason="Evicted"),), {}, ["node-0"], id="short of memory"),
        pytest.param((make_ended(0, code=255, reason="Unknown"),), {}, ["node-0"], id="rebooted"),
        pytest.param((make_ended(0, code=1),), {"lost_nodes": frozenset({"node-1"})}, ["node-1"], id="does not answer"),
        pytest.param(
            (make_worker(0, leaves_at=ago(1), is_disrupted=True, reason="DeletionByTaintManager"),),
            {},
            ["node-0"],
            id="tainted",
        ),
        pytest.param((make_ended(0, code=1),), {}, [], id="fault of the program"),
        pytest.param((make_ended(0, code=143),), {}, [], id="stopped"),
        pytest.param((make_worker(0, leaves_at=ago(1)),), {}, [], id="deleted by somebody"),
        pytest.param(
            (make_worker(0, leaves_at=ago(1), is_disrupted=True, reason="EvictionByEvictionAPI"),), {}, [], id="drained"
        ),
        pytest.param(
            (make_worker(0, leaves_at=ago(1), is_disrupted=True, reason="PreemptionByScheduler"),),
            {},
            [],
            id="preempted",
        ),
    ],
)
def test_which_faults_a_node_is_blamed_for(
    pods: tuple[PodView, ...], seen: dict[str, Any], expected: list[str]
) -> None:
    status = struck((*pods, make_worker(1)), **seen)
    assert status.phase == "Restarting"
    assert [node.name for node in status.avoided_nodes] == expected


def created(avoided: list[dict[str, Any]], now: Any = NOW, phase: Any = "Restarting", **spec: Any) -> list[Any]:
    """Affinities of the pods that the next attempt has."""
    status = status_in(phase, attempt=1, avoided_nodes=avoided, conditions=[])
    job = make_job(workers={"replicas": 2, **spec}, evaluation={"claimName": "sets"})
    job = job.model_copy(update={"status": status})
    seen = {"pods": (), "evaluator": None, "prerequisites": make_prerequisites()}
    plan = decide(observation_in(phase, job, seen), SETTINGS, now)
    pods = [item.manifest for item in plan.actions if isinstance(item, Create)]
    assert pods
    return [pod["spec"].get("affinity") for pod in pods]


def blamed(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "reason": "NodeLost", "since": ago(60)} for name in names]


def preference(*names: str) -> dict[str, Any]:
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in names]
    return {"weight": 100, "preference": {"matchFields": fields}}


def test_all_pods_of_the_next_attempt_prefer_other_nodes() -> None:
    affinity = {"nodeAffinity": {PREFERRED: [preference("node-0", "node-3")]}}
    assert created(blamed("node-0", "node-3")) == [affinity, affinity]


def test_without_a_node_to_blame_pods_are_as_they_were() -> None:
    assert created([]) == [None, None]


def test_when_the_time_is_over_the_node_is_as_good_as_any() -> None:
    later = NOW + timedelta(seconds=SETTINGS.avoid_node_seconds)
    assert created(blamed("node-0"), now=later) == [None, None]


def test_what_the_template_asks_for_stays() -> None:
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}
    preferred = {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
    own = {"requiredDuringSchedulingIgnoredDuringExecution": required, PREFERRED: [preferred]}
    template = {"spec": {"affinity": {"nodeAffinity": own, "podAntiAffinity": {}}}}
    affinity = created(blamed("node-0"), template=template)[0]
    assert affinity["nodeAffinity"] == {**own, PREFERRED: [preferred, preference("node-0")]}
    assert affinity["podAntiAffinity"] == {}


def test_a_node_is_kept_once_and_the_newest_stay() -> None:
    names = [f"node-{number}" for number in range(16)]
    job = make_job(workers={"replicas": 2})
    status = status_in("Training", attempt=0, avoided_nodes=blamed("node-1", *names[2:], "node-x"))
    for node in ("node-1", "node-z"):
        seen = {"pods": (make_ended(0, code=None, reason="Evicted", node=node), make_worker(1))}
        job = job.model_copy(update={"status": status})
        plan = decide(observation_in("Training", job, seen), SETTINGS, NOW)
        status = stored(plan.status).model_copy(update={"phase": "Training", "attempt": 0})
    kept = [node.name for node in status.avoided_nodes]
    assert kept == [*names[3:], "node-x", "node-1", "node-z"]


def test_the_evaluator_goes_elsewhere_as_ranks_do() -> None:
    job = make_job(workers={"replicas": 2}, evaluation={"claimName": "sets"})
    job = job.model_copy(update={"status": status_in("Evaluating", attempt=0)})
    evaluator = make_evaluator(137, is_disrupted=True, reason="TerminationByKubelet")
    status = decide(observation_in("Evaluating", job, {"evaluator": evaluator}), SETTINGS, NOW).status
    assert [node.name for node in status.avoided_nodes] == ["node-0"]
