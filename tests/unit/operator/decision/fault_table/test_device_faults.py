"""ConfigMaps of MindX in the form that its documentation gives, and in all others."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from arcface_operator.decision.fault_table.device_faults import DeviceFault, read_clusterd, read_plugin

CHIP = "huawei.com/Ascend910"
SEPARATED = {
    "fault_type": "CardUnhealthy",
    "npu_name": "Ascend910-3",
    "large_model_fault_level": "SeparateNPU",
    "fault_level": "SeparateNPU",
    "fault_handling": "SeparateNPU",
    "fault_code": "80E18402,80E01801",
    "fault_time_and_level_map": {"80E18402": {"fault_time": 1736926605, "fault_level": "SeparateNPU"}},
}
FAULT = DeviceFault(card="Ascend910-3", code="80E18402,80E01801", level="SeparateNPU")


def devices(*faults: dict[str, Any], **lists: str) -> dict[str, str]:
    """The cards of a node."""
    return {
        CHIP: "Ascend910-0,Ascend910-1,Ascend910-2",
        f"{CHIP}-Fault": json.dumps(faults),
        f"{CHIP}-NetworkUnhealthy": "",
        f"{CHIP}-Recovering": "",
        f"{CHIP}-Unhealthy": "Ascend910-3",
        **{f"{CHIP}-{name}": text for name, text in lists.items()},
    }


def plugin(listed: dict[str, str]) -> dict[str, str]:
    """The ConfigMap of a node's device plugin."""
    info = {"DeviceInfo": {"DeviceList": listed, "UpdateTime": 1759214666}, "SuperPodID": -2, "ServerIndex": -2}
    return {
        "DeviceInfoCfg": json.dumps({**info, "CheckCode": "0" * 64}),
        "ManuallySeparateNPU": "",
        "UpgradeFaultReason": "",
        "Description": "",
    }


def clusterd(**nodes: dict[str, str]) -> str:
    """Content of a ConfigMap of clusterd."""
    told = {
        f"mindx-dl-deviceinfo-{node}": {
            "DeviceList": listed,
            "UpdateTime": 1759214666,
            "CmName": f"mindx-dl-deviceinfo-{node}",
            "SuperPodID": -2,
            "ServerIndex": -2,
        }
        for node, listed in nodes.items()
    }
    return json.dumps(told)


def test_a_plugin_names_card_code_and_level() -> None:
    assert read_plugin(plugin(devices(SEPARATED))) == (FAULT,)


def test_a_node_without_faults_has_none() -> None:
    assert read_plugin(plugin(devices(Unhealthy=""))) == ()


def test_clusterd_tells_of_many_nodes_and_is_asked_about_some() -> None:
    text = clusterd(a=devices(SEPARATED), b=devices(), c=devices(SEPARATED))
    assert read_clusterd(text, {"a", "b", "d"}) == {"a": (FAULT,), "b": ()}


@pytest.mark.parametrize(
    ("told", "level"),
    [
        pytest.param({"fault_handling": "RestartNPU", "fault_level": "SubHealthFault"}, "RestartNPU", id="handling"),
        pytest.param({"fault_level": "RestartNPU"}, "RestartNPU", id="level"),
        pytest.param({"large_model_fault_level": "RestartBusiness"}, "RestartBusiness", id="older plugins"),
        pytest.param({"fault_type": "NodeUnhealthy", "npu_name": ""}, "NodeUnhealthy", id="the whole node"),
    ],
)
def test_levels_of_all_releases_are_read(told: dict[str, str], level: str) -> None:
    (fault,) = read_plugin(plugin(devices({"npu_name": "Ascend910-3", **told})))
    assert fault.level == level


def test_plugins_that_tell_no_more_than_names_are_believed() -> None:
    listed = {CHIP: "", f"{CHIP}-Unhealthy": "Ascend910-1,Ascend910-4", f"{CHIP}-NetworkUnhealthy": "Ascend910-5"}
    assert [(fault.card, fault.level) for fault in read_plugin(plugin(listed))] == [
        ("Ascend910-1", "Unhealthy"),
        ("Ascend910-4", "Unhealthy"),
        ("Ascend910-5", "NetworkUnhealthy"),
    ]


@pytest.mark.parametrize(
    ("fault", "cards", "befalls"),
    [
        pytest.param(FAULT, ("3",), True, id="its card"),
        pytest.param(FAULT, ("13", "2"), False, id="other cards"),
        pytest.param(FAULT, (), False, id="cards that nobody knows"),
        pytest.param(DeviceFault(card="", code="", level="NodeUnhealthy"), (), True, id="the node"),
        pytest.param(DeviceFault(card="npu-3", code="", level="RestartRequest"), ("3",), True, id="a name of its own"),
        pytest.param(DeviceFault(card="Ascend910-3", code="", level="PreSeparateNPU"), ("3",), True, id="later"),
        *(
            pytest.param(DeviceFault(card="Ascend910-3", code="", level=level), ("3",), False, id=level)
            for level in ("NotHandleFault", "SubHealthFault", "", "ALevelToCome")
        ),
    ],
)
def test_which_pods_a_fault_interferes_with(fault: DeviceFault, cards: tuple[str, ...], befalls: bool) -> None:
    assert fault.befalls(cards) == befalls


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"DeviceInfoCfg": ""},
        {"DeviceInfoCfg": "[]"},
        {"DeviceInfoCfg": "[" * 100_000},
        {"DeviceInfoCfg": '{"DeviceInfo": {"DeviceList": null}}'},
        {"DeviceInfoCfg": '{"DeviceInfo": {"DeviceList": {"huawei.com/Ascend910-Fault": "<html>"}}}'},
        {"DeviceInfoCfg": '{"DeviceInfo": {"DeviceList": {"huawei.com/Ascend910-Fault": "[7]"}}}'},
    ],
)
def test_what_cannot_be_read_is_no_fault_of_a_card(data: dict[str, str]) -> None:
    assert not read_plugin(data)
    assert read_clusterd(data.get("DeviceInfoCfg", ""), {"a"}) == {}


@settings(deadline=None)
@given(st.text(max_size=200) | st.recursive(st.none() | st.text(max_size=9), st.lists).map(json.dumps))
def test_nothing_that_is_written_there_breaks_the_reader(text: str) -> None:
    assert read_plugin({"DeviceInfoCfg": text}) is None
    assert read_clusterd(text, {"a"}) == {}


def test_a_part_of_clusterds_answer_that_cannot_be_read_leaves_the_others() -> None:
    text = json.dumps({**json.loads(clusterd(a=devices(SEPARATED))), "mindx-dl-deviceinfo-b": {"DeviceList": 7}})
    assert read_clusterd(text, {"a", "b"}) == {"a": (FAULT,)}
