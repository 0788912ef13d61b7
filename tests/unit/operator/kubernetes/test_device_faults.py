"""Where MindX' ConfigMaps are looked for, and how often."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from arcface_operator.decision.fault_table.device_faults import DeviceFault
from arcface_operator.kubernetes.client import ApiError, Unreachable
from arcface_operator.kubernetes.device_faults import DeviceFaultReader

FAULT = DeviceFault(card="Ascend910-3", code="80E18402", level="SeparateNPU")
LISTED = {
    "huawei.com/Ascend910-Fault": json.dumps(
        [{"npu_name": "Ascend910-3", "fault_code": "80E18402", "fault_handling": "SeparateNPU"}]
    )
}
PLUGINS = {"DeviceInfoCfg": json.dumps({"DeviceInfo": {"DeviceList": LISTED, "UpdateTime": 1}})}


class Maps:
    """ConfigMaps of an API server."""

    def __init__(self, maps: dict[str, dict[str, str]], forbidden: str = "nowhere") -> None:
        self.maps = maps
        self.forbidden = forbidden
        self.asked: list[str] = []

    async def find(self, path: str) -> Any:
        name = path.removeprefix("/api/v1/namespaces/").replace("/configmaps/", "/")
        self.asked.append(name)
        if name.startswith(self.forbidden):
            raise ApiError(403, "forbidden")
        return {"data": self.maps[name]} if name in self.maps else None


def told(maps: Maps, *nodes: str) -> Any:
    """What is known, and what keeps the rest from us."""
    return asyncio.run(DeviceFaultReader(maps).read(frozenset(nodes)))  # type: ignore[arg-type]


def read(maps: Maps, *nodes: str) -> Any:
    found, error = told(maps, *nodes)
    assert error is None
    return found


def of_clusterd(number: int, *nodes: str) -> dict[str, dict[str, str]]:
    name = f"cluster-info-device-{number}"
    return {
        f"mindx-dl/{name}": {
            name: json.dumps({f"mindx-dl-deviceinfo-{node}": {"DeviceList": LISTED} for node in nodes})
        }
    }


def of_plugin(node: str) -> dict[str, dict[str, str]]:
    return {f"kube-system/mindx-dl-deviceinfo-{node}": PLUGINS}


def test_without_mindx_65_plugins_at_most_are_asked_for() -> None:
    for nodes, questions in ((1, 1), (3, 3), (65, 65), (66, 65), (1000, 65)):
        maps = Maps({})
        assert read(maps, *(f"node-{number}" for number in range(nodes))) == {}
        assert len(set(maps.asked)) == len(maps.asked) == 1 + questions


def test_a_node_without_a_plugin_hides_the_faults_of_no_other() -> None:
    for node in ("b", "c"):
        assert read(Maps(of_plugin(node)), "a", "b", "c") == {node: (FAULT,)}
    names = [f"node-{number:03}" for number in range(200)]
    assert read(Maps(of_plugin(names[64]) | of_plugin(names[199])), *names).keys() == {names[64], names[199]}


def test_without_the_right_to_a_first_plugin_no_other_is_asked() -> None:
    maps = Maps(of_plugin("b"), forbidden="kube-system/")
    assert read(maps, "a", "b") == {}
    assert maps.asked == ["mindx-dl/cluster-info-device-0", "kube-system/mindx-dl-deviceinfo-a"]


@pytest.mark.parametrize("forbidden", ["mindx-dl/", "kube-system/", ""])
def test_without_the_right_nothing_is_known_and_nothing_breaks(forbidden: str) -> None:
    maps = Maps({} if forbidden else of_plugin("a") | of_clusterd(0, "a"), forbidden)
    assert read(maps, "a", "b") == {}


def test_clusterd_tells_of_all_nodes_at_once() -> None:
    maps = Maps(of_clusterd(0, "a") | of_clusterd(1, "b") | of_clusterd(2, "c") | of_plugin("a"))
    assert read(maps, "a", "b") == {"a": (FAULT,), "b": (FAULT,)}
    assert "mindx-dl/cluster-info-device-3" not in maps.asked
    assert not any("kube-system" in name for name in maps.asked)


def test_plugins_tell_where_there_is_no_clusterd_or_it_may_not_be_read() -> None:
    maps = Maps(of_plugin("a") | of_plugin("c"), forbidden="mindx-dl/")
    assert read(maps, "a", "b", "c") == {"a": (FAULT,), "c": (FAULT,)}


@dataclass
class Failing(Maps):
    """Some of the answers are errors."""

    maps: dict[str, dict[str, str]]
    failing: str
    error: Exception

    def __post_init__(self) -> None:
        super().__init__(self.maps)

    async def find(self, path: str) -> Any:
        found = await super().find(path)
        if self.failing in path:
            raise self.error
        return found


ERRORS = [ApiError(500, "etcd"), ApiError(429, "slow down"), Unreachable("timed out")]


@pytest.mark.parametrize("error", ERRORS, ids=["500", "429", "timeout"])
def test_an_error_hides_the_faults_of_the_nodes_that_it_is_about_and_says_so(error: Exception) -> None:
    everything = of_clusterd(0, "a") | of_clusterd(1, "b") | of_plugin("b") | of_plugin("c")
    known = dict.fromkeys("abc", (FAULT,))
    assert told(Failing(everything, "device-1", error), *"abc") == (known, None)
    without_c = dict.fromkeys("ab", (FAULT,))
    assert told(Failing(everything, "deviceinfo-c", error), *"abc") == (without_c, error)
    assert told(Failing(everything, "configmaps", error), *"abc") == ({}, error)


def test_where_the_first_plugin_cannot_be_read_no_other_is_asked() -> None:
    maps = Failing({}, "kube-system", ApiError(503, "away"))
    told(maps, "a", "b", "c")
    assert [name for name in maps.asked if "kube-system" in name] == ["kube-system/mindx-dl-deviceinfo-a"]


@pytest.mark.parametrize("data", [{"DeviceInfoCfg": "{"}, {"DeviceInfoCfg": "[]"}, {}, ["DeviceInfoCfg"]])
def test_what_is_not_as_documented_is_no_fault_of_a_card(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert read(Maps({"kube-system/mindx-dl-deviceinfo-a": data}), "a").get("a", ()) == ()
    assert read(Maps(of_plugin("a") | {"kube-system/mindx-dl-deviceinfo-b": data}), *"ab")["a"] == (FAULT,)
    assert isinstance(data, list) or "kube-system/mindx-dl-deviceinfo-b is not as MindX documents it" in caplog.text
