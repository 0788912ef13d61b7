"""What a container gets of the emulated device plugin, and which requests it refuses."""

import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from testbed.ascend.allocation import (
    ALLOCATED,
    COMMON_DEVICES,
    PREDICATE_TIME,
    VolcanoChoice,
    with_device_files,
    with_runtime,
)
from testbed.ascend.annotations import VOLCANO_DEVICES
from testbed.ascend.device_plugin import DevicePlugin
from testbed.ascend.kubelet_messages import messages

NAMES = ["Ascend910-3", "Ascend910-1"]


class Aborted(Exception):  # noqa: N818
    """How a call of gRPC ends that the server refuses."""


class Context:
    """A call's context, as far as a refusal needs one."""

    def abort(self, code: grpc.StatusCode, text: str) -> None:
        raise Aborted(code, text)


class ApiServer:
    """Pods by name, listed and patched."""

    def __init__(self, **annotations: dict[str, str]) -> None:
        self.pods = {
            name: {"metadata": {"name": name, "namespace": "faces", "uid": name, "annotations": dict(written)}}
            for name, written in annotations.items()
        }
        self.client = httpx.Client(transport=httpx.MockTransport(self.answer), base_url="http://api")

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"items": list(self.pods.values())})
        pod = self.pods[request.url.path.rpartition("/")[2]]
        pod["metadata"]["annotations"].update(json.loads(request.content)["metadata"]["annotations"])
        return httpx.Response(200, json=pod)


def allocate(plugin: DevicePlugin, names: list[str]) -> Any:
    request = messages["AllocateRequest"](
        container_requests=[messages["ContainerAllocateRequest"](device_ids=names)],
    )
    (response,) = plugin.allocate(request, Context()).container_responses
    return response


def plugin_of(server: ApiServer, volcano: bool = True) -> DevicePlugin:
    choice = VolcanoChoice(server.client, look_again_seconds=0.0) if volcano else None
    return DevicePlugin(Path("/nowhere"), server.client, chips=4, volcano=choice)


def test_without_the_runtime_there_are_device_files_and_no_variables() -> None:
    response = with_device_files(NAMES)
    paths = [device.container_path for device in response.devices]
    assert paths == [*COMMON_DEVICES, "/dev/davinci3", "/dev/davinci1"]
    assert {device.permissions for device in response.devices} == {"rw"}
    assert not response.envs


def test_with_the_runtime_there_are_variables_and_no_device_files() -> None:
    response = with_runtime(NAMES)
    assert {entry.key: entry.value for entry in response.envs} == {
        "ASCEND_VISIBLE_DEVICES": "3,1",
        "ASCEND_RUNTIME_OPTIONS": "",
    }
    assert not response.devices


def test_a_part_of_a_node_without_volcanos_word_is_refused() -> None:
    with pytest.raises(Aborted) as refusal:
        allocate(plugin_of(ApiServer(lone={})), NAMES)
    assert refusal.value.args == (grpc.StatusCode.UNKNOWN, "not get valid pod")


def test_a_whole_node_needs_no_word_of_volcanos() -> None:
    names = [f"Ascend910-{chip}" for chip in range(4)]
    assert len(allocate(plugin_of(ApiServer()), names).devices) == 4 + len(COMMON_DEVICES)


def test_without_volcano_the_kubelets_choice_holds() -> None:
    response = allocate(plugin_of(ApiServer(), volcano=False), NAMES)
    assert [device.container_path for device in response.devices[-2:]] == ["/dev/davinci3", "/dev/davinci1"]


def test_the_pod_that_volcano_placed_first_gets_what_volcano_chose_and_each_pod_once() -> None:
    server = ApiServer(
        later={VOLCANO_DEVICES: "Ascend910-2,Ascend910-3", PREDICATE_TIME: "2000"},
        first={VOLCANO_DEVICES: "Ascend910-0,Ascend910-1", PREDICATE_TIME: "1000"},
        larger={VOLCANO_DEVICES: "Ascend910-0,Ascend910-1,Ascend910-2", PREDICATE_TIME: "1"},
    )
    plugin = plugin_of(server)
    given = [[device.container_path for device in allocate(plugin, NAMES).devices[-2:]] for _ in range(2)]
    assert given == [["/dev/davinci0", "/dev/davinci1"], ["/dev/davinci2", "/dev/davinci3"]]
    assert server.pods["first"]["metadata"]["annotations"][PREDICATE_TIME] == ALLOCATED
    with pytest.raises(Aborted):
        allocate(plugin, NAMES)
