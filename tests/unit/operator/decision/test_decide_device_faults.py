"""A card that MindX calls faulty explains what its ranks and their peers die of."""

import json
from typing import Any

import pytest

from arcface_api.contract.launcher_words import GangWord, PodWord
from arcface_api.contract.reports import ReportedFailure
from arcface_operator.decision.decide import decide, nodes_in_question
from arcface_operator.decision.fault_table.device_faults import DeviceFault
from arcface_operator.decision.observation import HeardWords, PodView
from arcface_operator.decision.plan import Plan
from support.builders.jobs import make_job
from support.builders.views import ASCEND, NOW, SETTINGS, ago, make_ended, make_report, make_worker, stored
from support.decision_table import observation_in, status_in

FAULT = DeviceFault(card="Ascend910-3", code="80E18402", level="SeparateNPU")


def cards(index: int) -> dict[str, str]:
    """What the device plugin has written on a pod with two cards."""
    numbers = (2 * index, 2 * index + 1)
    devices = [{"device_id": str(number), "device_ip": f"192.168.100.{number}"} for number in numbers]
    text = json.dumps({"pod_name": "", "server_id": f"192.168.0.{index}", "devices": devices})
    return {SETTINGS.device_annotation: text}


def plan_after(pods: tuple[PodView, ...], faults: dict[str, tuple[DeviceFault, ...]], **seen: Any) -> Plan:
    job = make_job(workers=ASCEND, training={"precision": "fp32"})
    job = job.model_copy(update={"status": status_in("Training", attempt=0)})
    return decide(observation_in("Training", job, {"pods": pods, "device_faults": faults, **seen}), SETTINGS, NOW)


def status_after(pods: tuple[PodView, ...], faults: dict[str, tuple[DeviceFault, ...]], **seen: Any) -> Any:
    return stored(plan_after(pods, faults, **seen).status)


DIED = (
    make_ended(0, code=1, at=ago(61), message="peer is gone", annotations=cards(0)),
    make_ended(1, code=137, at=ago(60), annotations=cards(1)),
)
QUIET: dict[str, tuple[DeviceFault, ...]] = {"node-0": (), "node-1": ()}
"""MindX is there, and calls no card faulty."""


def test_a_faulty_card_is_named_and_its_node_avoided_and_nothing_counts() -> None:
    status = status_after(DIED, {"node-0": (), "node-1": (FAULT,)})
    assert (status.phase, status.restarts, status.counted_restarts) == ("Restarting", 3, 1)
    failure = status.failure
    assert (failure.reason, failure.pod, failure.node, failure.rank) == ("DeviceFault", "quick-worker-1", "node-1", 2)
    assert failure.device.model_dump() == {"card": "Ascend910-3", "code": "80E18402", "level": "SeparateNPU"}
    assert failure.message == (
        "card Ascend910-3 of node node-1 is faulty: code 80E18402, level SeparateNPU; "
        "seen as: pod quick-worker-0: exit code 1: peer is gone"
    )
    assert failure.log == ["peer is gone"]
    assert [(node.name, node.reason) for node in status.avoided_nodes] == [("node-1", "DeviceFault")]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({}, id="nothing known"),
        pytest.param({"node-0": (FAULT,)}, id="a card of another job on the node of the first pod"),
        pytest.param({"node-7": (FAULT,)}, id="another node"),
        pytest.param({"node-1": (DeviceFault(card="Ascend910-3", code="", level="NotHandleFault"),)}, id="no matter"),
    ],
)
def test_other_faults_explain_nothing(faults: dict[str, tuple[DeviceFault, ...]]) -> None:
    status = status_after(DIED, faults)
    assert (status.failure.reason, status.failure.device, status.counted_restarts) == ("Error", None, 2)


def test_a_gang_that_stands_still_may_have_a_card_that_does() -> None:
    pods = tuple(make_worker(index, annotations=cards(index)) for index in range(2))
    job = make_job(workers=ASCEND, training={"precision": "fp32"}, runPolicy={"stallSeconds": 10})
    job = job.model_copy(update={"status": status_in("Training", attempt=0)})
    seen = {"pods": pods, "device_faults": {"node-1": (FAULT,)}, "report": make_report(7)}
    observed = observation_in("Training", job, seen)
    assert nodes_in_question(observed, SETTINGS, NOW) == {"node-0", "node-1"}
    status = decide(observed, SETTINGS, NOW).status
    assert status.failure is not None
    assert (status.failure.reason, status.counted_restarts) == ("DeviceFault", 1)


def test_bad_input_is_bad_whatever_the_cards_do() -> None:
    pods = (make_ended(0, code=2, annotations=cards(0)), make_worker(1, annotations=cards(1)))
    assert status_after(pods, {"node-1": (FAULT,)}).failure.reason == "InvalidInput"


def test_a_lost_node_explains_more_than_its_cards() -> None:
    status = status_after(DIED, {"node-1": (FAULT,)}, lost_nodes=frozenset({"node-0"}))
    assert status.failure.reason == "NodeLost"


def test_without_the_plugins_annotation_only_the_node_as_a_whole_is_blamed() -> None:
    pods = tuple(make_ended(index, code=1) for index in range(2))
    assert status_after(pods, {"node-1": (FAULT,)}).failure.reason == "Error"
    whole = DeviceFault(card="", code="", level="NodeUnhealthy")
    failure = status_after(pods, {"node-1": (whole,)}).failure
    assert (failure.reason, failure.node) == ("DeviceFault", "node-1")
    assert failure.message.startswith("node node-1 is faulty: code unknown, level NodeUnhealthy; seen as: ")


def dead_for(seconds: float, **ended: Any) -> tuple[PodView, ...]:
    """A gang whose pods all ended so long ago."""
    return tuple(make_ended(index, at=ago(seconds), annotations=cards(index), **ended) for index in range(2))


def test_mindx_has_a_while_to_tell_of_a_card_before_the_program_is_blamed() -> None:
    plan = plan_after(dead_for(3, code=1), QUIET)
    assert (plan.status.phase, plan.status.counted_restarts, plan.look_again_seconds) == ("Training", 1, 7)
    told = status_after(dead_for(7, code=1), {**QUIET, "node-1": (FAULT,)})
    assert (told.failure.reason, told.counted_restarts) == ("DeviceFault", 1)
    untold = status_after(dead_for(10, code=1), QUIET)
    assert (untold.failure.reason, untold.counted_restarts) == ("Error", 2)


@pytest.mark.parametrize(
    ("ended", "faults"),
    [
        pytest.param({"code": 1}, {}, id="no MindX"),
        pytest.param({"code": 2}, QUIET, id="bad input"),
        pytest.param({"code": 3}, QUIET, id="diverged"),
        pytest.param({"code": 143}, QUIET, id="stopped"),
        pytest.param({"code": 137, "reason": "OOMKilled"}, QUIET, id="out of memory"),
        pytest.param({"code": None, "reason": "InitContainerFailed"}, QUIET, id="before the main container"),
    ],
)
def test_what_no_card_explains_waits_for_none(ended: dict[str, Any], faults: Any) -> None:
    assert plan_after(dead_for(0, **ended), faults).status.phase in {"Restarting", "Failed"}


def test_a_rank_whose_launcher_tells_of_its_end_waits_for_word_of_its_card_too() -> None:
    pods = tuple(make_worker(index, annotations=cards(index)) for index in range(2))
    told = ReportedFailure(reason="Error", message="RuntimeError: 507015 aicore", rank=2, exit_code=1)
    gang: dict[str, Any] = {"job_uid": make_job().metadata.uid, "attempt": 0, "launch": 0}
    word = PodWord(**gang, rank=2, failure=told, step=7)
    words = HeardWords(GangWord(**gang, serial=9, pods=2, failures=[word]), ago(3))
    assert plan_after(pods, QUIET, words=words).look_again_seconds == 7
    assert plan_after(pods, {}, words=words).status.phase == "Restarting"
