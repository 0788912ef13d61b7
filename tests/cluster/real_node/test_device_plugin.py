"""The kubelet hands out the emulated chips, and the pod learns of them as from Ascend's own plugin."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.waiting import wait_until
from testbed.ascend.allocation import COMMON_DEVICES, PREDICATE_TIME, VolcanoChoice, with_runtime
from testbed.ascend.annotations import CONFIGURATION, KUBELET_DEVICES, REAL_DEVICES, VOLCANO_DEVICES
from testbed.ascend.device_plugin import HEALTHY, RESOURCE, UNHEALTHY, DevicePlugin
from testbed.control_plane.api_answers import answer
from testbed.control_plane.pods import Pods, shell_pod
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node


@pytest.fixture(scope="module")
def plugin(node: RealNode) -> Iterator[DevicePlugin]:
    with DevicePlugin(node.kubelet_folder, node.api, poll_seconds=0.2, unknown_addresses=frozenset({7})) as plugin:
        wait_until(lambda: allocatable(node) == "8", seconds=60)
        yield plugin
        assert plugin.errors == []


def test_a_pod_gets_its_devices_as_files_and_by_annotation(plugin: DevicePlugin, node: RealNode, pods: Pods) -> None:
    name = pods.create(device_pod("two", 2))
    annotations = annotations_of(pods, name)
    names = annotations[REAL_DEVICES].split(",")
    chips = [int(device.removeprefix("Ascend910-")) for device in names]
    assert names == sorted(set(names))
    assert len(names) == 2
    assert annotations[KUBELET_DEVICES] == annotations[VOLCANO_DEVICES] == annotations[REAL_DEVICES]
    files = {f"/dev/davinci{chip}" for chip in chips} | set(COMMON_DEVICES)
    assert set(pods.log(name).split()) == files | {"visible=none"}
    assert json.loads(annotations[CONFIGURATION]) == {
        "pod_name": "two",
        "server_id": node.network.node_address,
        "super_pod_id": -2,
        "devices": [
            {"device_id": str(chip), "device_ip": plugin.chips.addresses.get(chip, "-1"), "super_device_id": "0"}
            for chip in sorted(chips)
        ],
    }


def test_newer_plugins_name_the_pod_as_the_server(plugin: DevicePlugin, node: RealNode, pods: Pods) -> None:
    plugin.generation = "7.3"
    name = pods.create(device_pod("all", 8))
    configuration = json.loads(annotations_of(pods, name)[CONFIGURATION])
    assert configuration["server_id"] == pods.read(name)["metadata"]["uid"]
    assert configuration["host_ip"] == node.network.node_address
    assert configuration["devices"][7] == {"device_id": "7", "device_ip": "-1", "super_device_id": "0"}


def test_with_ascends_runtime_a_pod_gets_a_variable(plugin: DevicePlugin, pods: Pods) -> None:
    with replaced(plugin, response=with_runtime):
        name = pods.create(device_pod("with-runtime", 2))
        annotations_of(pods, name)
        (line,) = pods.log(name).split()
    assert sorted(line.removeprefix("visible=").split(",")) == [
        device["device_id"] for device in json.loads(annotations_of(pods, name)[CONFIGURATION])["devices"]
    ]


def test_with_volcano_a_part_of_a_node_is_for_pods_that_volcano_has_placed(
    plugin: DevicePlugin, node: RealNode, pods: Pods
) -> None:
    # Three, since pods of other tests hold two in an annotation that the plugin cannot tell from Volcano's.
    with replaced(plugin, volcano=VolcanoChoice(node.api, look_again_seconds=0.1)):
        refused = pods.create(device_pod("unplaced", 3))
        pods.wait_for(refused, "Failed")
        status = pods.read(refused)["status"]
        assert status["reason"] == "UnexpectedAdmissionError"
        assert "not get valid pod" in status["message"]
        placed, chosen = device_pod("placed", 3), "Ascend910-4,Ascend910-5,Ascend910-6"
        placed["metadata"]["annotations"] = {VOLCANO_DEVICES: chosen, PREDICATE_TIME: "1764"}
        name = pods.create(placed)
        assert annotations_of(pods, name)[REAL_DEVICES] == chosen
        assert {f"/dev/davinci{chip}" for chip in (4, 5, 6)} <= set(pods.log(name).split())


def test_a_pod_beyond_the_free_devices_waits(plugin: DevicePlugin, pods: Pods) -> None:
    first, second = (pods.create(device_pod(name, 5)) for name in ("first", "second"))
    wait_until(lambda: scheduled(pods, first)["status"] == "True" or scheduled(pods, second)["status"] == "True")
    waiting = second if scheduled(pods, first)["status"] == "True" else first
    wait_until(lambda: f"Insufficient {RESOURCE}" in scheduled(pods, waiting)["message"])


def test_unhealthy_chips_are_not_handed_out(plugin: DevicePlugin, node: RealNode) -> None:
    plugin.set_health(3, UNHEALTHY)
    wait_until(lambda: allocatable(node) == "7", seconds=60)
    plugin.set_health(3, HEALTHY)
    wait_until(lambda: allocatable(node) == "8", seconds=60)


def device_pod(name: str, devices: int) -> dict[str, Any]:
    """A pod that prints the devices it sees and stays."""
    container = {"resources": {"limits": {RESOURCE: devices}}}
    files = "ls -d /dev/davinci* /dev/hisi* /dev/devmm* 2>/dev/null"
    return shell_pod(name, f"{files}; echo visible=${{ASCEND_VISIBLE_DEVICES-none}}; sleep 1000", container=container)


@contextmanager
def replaced(plugin: DevicePlugin, **fields: Any) -> Iterator[None]:
    """The plugin started in another way for a while."""
    before = {name: getattr(plugin, name) for name in fields}
    vars(plugin).update(fields)
    yield
    vars(plugin).update(before)


def annotations_of(pods: Pods, name: str) -> dict[str, str]:
    """Annotations of a running pod once the plugin has written them."""
    pods.wait_for(name, "Running")
    wait_until(lambda: CONFIGURATION in pods.read(name)["metadata"].get("annotations", {}))
    return pods.read(name)["metadata"]["annotations"]


def allocatable(node: RealNode) -> str | None:
    """How many devices the scheduler may give away."""
    return answer(node.api.get(f"/api/v1/nodes/{node.name}"))["status"]["allocatable"].get(RESOURCE)


def scheduled(pods: Pods, name: str) -> dict[str, str]:
    """The scheduler's condition of a pod."""
    conditions = pods.read(name)["status"].get("conditions", [])
    none = {"status": "Unknown", "message": ""}
    return next((condition for condition in conditions if condition["type"] == "PodScheduled"), none) | {}
