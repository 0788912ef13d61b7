"""The kubelet hands out the emulated chips, and the pod learns of them as from Ascend's own plugin."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.waiting import wait_until
from testbed.ascend.annotations import CONFIGURATION, KUBELET_DEVICES, REAL_DEVICES
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


def test_a_pod_gets_its_devices_by_environment_and_annotation(plugin: DevicePlugin, node: RealNode, pods: Pods) -> None:
    name = pods.create(device_pod("two", 2))
    annotations = annotations_of(pods, name)
    chips = [int(device.removeprefix("Ascend910-")) for device in annotations[REAL_DEVICES].split(",")]
    assert pods.log(name).strip() == ",".join(map(str, chips))
    assert len(set(chips)) == 2
    assert annotations[KUBELET_DEVICES] == annotations[REAL_DEVICES]
    assert json.loads(annotations[CONFIGURATION]) == {
        "pod_name": "two",
        "server_id": node.network.node_address,
        "devices": [{"device_id": str(chip), "device_ip": plugin.addresses[chip]} for chip in sorted(chips)],
    }


def test_newer_plugins_name_the_pod_as_the_server(plugin: DevicePlugin, node: RealNode, pods: Pods) -> None:
    plugin.generation = "7.3"
    name = pods.create(device_pod("all", 8))
    configuration = json.loads(annotations_of(pods, name)[CONFIGURATION])
    assert configuration["server_id"] == pods.read(name)["metadata"]["uid"]
    assert configuration["host_ip"] == configuration["server_ip"] == node.network.node_address
    assert configuration["devices"][7] == {"device_id": "7", "device_ip": "-1"}


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
    return shell_pod(name, "echo $ASCEND_VISIBLE_DEVICES; sleep 1000", container=container)


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
