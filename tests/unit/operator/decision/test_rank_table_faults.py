"""What keeps a rank table from being complete: pods that are waited for, cards that are not known, rules of HCCL."""

from dataclasses import replace
from typing import Any

import pytest

from arcface_operator.decision.observation import PodView
from support.builders.rank_tables import (
    NAME,
    configuration,
    device,
    in_super_pods,
    job_of,
    member,
    on_node_0,
    parsed,
    table,
)


@pytest.mark.parametrize("given", ["-2", "", None])
def test_a_card_without_its_number_in_the_super_pod_is_named(given: str | None) -> None:
    pod = member(1, configuration(1, devices=[device(1, 0), device(1, 1, super_device_id=given)]))
    found = table(in_super_pods(), member(0), pod)
    assert found.problem == "the device plugin does not know the super_device_id (-2) of a card of quick-worker-1"


def without(address: str, index: int) -> PodView:
    """A pod with a card of which the plugin knows this address only."""
    return member(index, configuration(index, devices=[device(index, 0), device(index, 1, device_ip=address)]))


@pytest.mark.parametrize(
    ("job", "pods", "is_complete"),
    [
        pytest.param(job_of(), (member(0), without("-1", 1)), False, id="1.0, could not be read"),
        pytest.param(job_of(), (member(0), without("", 1)), False, id="1.0, has none"),
        pytest.param(job_of(replicas=1), (without("-1", 0),), True, id="1.0 on one server, could not be read"),
        pytest.param(job_of(replicas=1), (without("", 0),), True, id="1.0 on one server, has none"),
        pytest.param(in_super_pods(), (member(0), without("-1", 1)), True, id="1.2 in one super pod"),
        pytest.param(in_super_pods("2"), (member(0), without("-1", 1)), False, id="1.2 in two super pods"),
    ],
)
def test_cards_need_an_address_wherever_they_talk_over_the_network(
    job: Any, pods: tuple[PodView, ...], is_complete: bool
) -> None:
    found = table(job, *pods)
    assert (found.document is not None) == is_complete
    if is_complete:
        cards = [card for server in parsed(found)["server_list"] for card in server["device"]]
        assert ["device_ip" in card for card in cards] == [True] * (len(cards) - 1) + [False]
    else:
        assert found.status.missing == [pods[-1].name]
        assert found.problem == f"the device plugin does not know the network address of a card of {pods[-1].name}"


@pytest.mark.parametrize(
    ("pods", "ready", "missing"),
    [
        pytest.param((member(0), member(1, annotations={})), 2, ["quick-worker-1"], id="no annotation yet"),
        pytest.param((member(0, address=None), member(1)), 2, ["quick-worker-0"], id="no address yet"),
        pytest.param(
            (member(0, annotations={}), member(1, address=None)), 0, ["quick-worker-0", "quick-worker-1"], id="nothing"
        ),
        pytest.param((member(1),), 2, [], id="pod not there yet"),
    ],
)
def test_a_table_that_waits_names_the_pods(pods: tuple[PodView, ...], ready: int, missing: list[str]) -> None:
    found = table(job_of(), *pods)
    assert (found.document, found.problem) == (None, None)
    assert (found.status.state, found.status.ready, found.status.total) == ("initializing", ready, 4)
    assert found.status.missing == missing


def test_of_thousands_of_pods_the_first_are_named_and_the_others_counted() -> None:
    pods = [replace(member(0, annotations={}), index=index, name=f"quick-worker-{index}") for index in range(4096)]
    found = table(job_of(replicas=4096), *pods)
    assert (len(found.status.missing), found.status.missing_more) == (20, 4076)
    assert found.status.missing_in_words.endswith("quick-worker-19 and 4,076 more")
    assert len(found.status.to_json()) < 600


def loopback(index: int, ids: tuple[str, ...] = ("0", "1")) -> PodView:
    """A pod whose cards have the address that the plugin has where none was ever set."""
    return member(index, configuration(index, devices=[device(index, int(n), device_ip="127.0.0.1") for n in ids]))


def test_cards_of_one_server_need_no_address_of_their_own() -> None:
    assert table(job_of(replicas=1), loopback(0)).document is not None
    assert table(in_super_pods(), loopback(0), loopback(1)).document is not None


def test_an_address_that_no_other_server_reaches_is_unknown() -> None:
    found = table(job_of(), member(0), loopback(1))
    assert found.problem == "the device plugin does not know the network address of a card of quick-worker-1"


REFUSED = "HCCL would refuse the rank table:"
READABLE = "pod quick-worker-1: the device plugin's annotation cannot be read"


@pytest.mark.parametrize(
    ("pod", "problem"),
    [
        pytest.param(member(1, "not JSON"), READABLE, id="no JSON"),
        pytest.param(member(1, "[]"), READABLE, id="no map"),
        pytest.param(member(1, "{"), READABLE, id="cut off"),
        pytest.param(member(1, "[" * 100_000), READABLE, id="deep"),
        pytest.param(member(1, '{"devices":[]}'), f"{READABLE} (server_id: required field is missing)", id="no server"),
        pytest.param(member(1, configuration(1, devices={})), READABLE, id="no list of devices"),
        pytest.param(member(1, configuration(1, devices=[{"device_id": 0}])), READABLE, id="number for text"),
        pytest.param(member(1, configuration(1, devices=[{"device_id": "-1"}])), READABLE, id="negative device"),
        pytest.param(member(1, configuration(1, devices=[{"device_id": "²"}])), READABLE, id="raised digit"),
        pytest.param(member(1, configuration(1, devices=[{"device_id": "9" * 5000}])), READABLE, id="endless number"),
        pytest.param(
            member(1, configuration(1, ("0",))),
            "pod quick-worker-1 was given 1 devices, devicesPerWorker is 2",
            id="fewer devices",
        ),
        pytest.param(
            member(1, configuration(1, ("0", "1", "2"))),
            "pod quick-worker-1 was given 3 devices, devicesPerWorker is 2",
            id="more devices",
        ),
        pytest.param(
            member(1, configuration(1, ("3", "3"))), f"{REFUSED} server 10.0.0.12: device 3 is that of", id="card twice"
        ),
        pytest.param(
            on_node_0(1, ("1", "2")), f"{REFUSED} server 10.0.0.11: device 1 is that of ranks 1 and 2", id="shared card"
        ),
        pytest.param(
            member(1, annotations={"ascend.kubectl.kubernetes.io/ascend-npu-configuration": "{}"}),
            "pod quick-worker-1: the device plugin wrote ascend.kubectl.kubernetes.io/ascend-npu-configuration: cards "
            "of A5 (950) take rank table 2.0, which is not supported yet",
            id="plugin for newer cards",
        ),
        pytest.param(
            member(1, annotations={"cce.kubectl.kubernetes.io/ascend-1980-configuration": "{}"}),
            "pod quick-worker-1: the device plugin wrote cce.kubectl.kubernetes.io/ascend-1980-configuration, the "
            f"operator reads {NAME}: set ascend.deviceAnnotation",
            id="plugin of another name",
        ),
        pytest.param(
            member(
                1,
                configuration(1, devices=[device(1, 0, device_ip="10.0.0.1"), device(1, 1, device_ip="10.0.0.1")]),
            ),
            f"{REFUSED} device_ip 10.0.0.1 is that of two devices",
            id="address twice",
        ),
        pytest.param(member(1, configuration(1, server_id="")), READABLE, id="nameless server"),
        pytest.param(
            replace(member(1), index=0), f"{REFUSED} rank_id 0 is that of two devices", id="rank of another pod"
        ),
    ],
)
def test_a_table_that_cannot_be_right_is_not_made(pod: PodView, problem: str) -> None:
    found = table(job_of(), member(0), pod)
    assert found.document is None
    assert found.problem is not None
    assert found.problem.startswith(problem)
    assert found.status.state == "initializing"
    assert found.status.ready <= found.status.total


def test_a_card_beyond_those_of_the_selected_machine_is_named() -> None:
    job = job_of(replicas=1, template={"spec": {"nodeSelector": {"accelerator-type": "module"}}})
    found = table(job, member(0, configuration(0, ("7", "8"))))
    assert found.problem == f"{REFUSED} rank 1: device_id 8 is above 7, the highest of its chip"


def test_pods_that_share_a_910a_node_must_make_up_rings_together() -> None:
    job = job_of(replicas=3, template={"spec": {"nodeSelector": {"accelerator-type": "module"}}})
    found = table(job, *(on_node_0(index, (str(2 * index), str(2 * index + 1))) for index in range(3)))
    assert found.problem == (f"{REFUSED} server 10.0.0.11 has 6 cards of the job, must be 1, 2, 4 or 8 on a 910A")
