"""Where MindX' ConfigMaps are looked for, and how often."""

import asyncio
import json
from typing import Any

import pytest

from arcface_operator.decision.fault_table.device_faults import DeviceFault
from arcface_operator.kubernetes.client import ApiError
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


def read(maps: Maps, *nodes: str) -> Any:
    return asyncio.run(DeviceFaultReader(maps).read(frozenset(nodes)))  # type: ignore[arg-type]


def of_clusterd(number: int, *nodes: str) -> dict[str, dict[str, str]]:
    name = f"cluster-info-device-{number}"
    return {
        f"mindx-dl/{name}": {
            name: json.dumps({f"mindx-dl-deviceinfo-{node}": {"DeviceList": LISTED} for node in nodes})
        }
    }


def of_plugin(node: str) -> dict[str, dict[str, str]]:
    return {f"kube-system/mindx-dl-deviceinfo-{node}": PLUGINS}


def test_without_mindx_two_questions_are_all_that_is_asked() -> None:
    maps = Maps({})
    assert read(maps, "a", "b", "c") == {}
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


def test_other_errors_are_no_answer() -> None:
    class Broken(Maps):
        async def find(self, path: str) -> Any:
            raise ApiError(500, f"{path}: etcd")

    with pytest.raises(ApiError):
        read(Broken({}), "a")
