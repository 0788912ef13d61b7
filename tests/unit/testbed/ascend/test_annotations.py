"""The emulated device plugin writes the bytes that the real one writes."""

import pytest

from testbed.ascend.annotations import (
    CONFIGURATION,
    KUBELET_DEVICES,
    REAL_DEVICES,
    VOLCANO_DEVICES,
    Chips,
    Generation,
    Holder,
    annotations_of,
    device_name,
)

HOLDER = Holder(name="r100-worker-0", uid="6b1c0f3e", node_address="10.0.0.11")
PLAIN = Chips(addresses={0: "192.168.101.2"})
SUPER_POD = Chips(addresses={0: "192.168.101.2", 1: "192.168.102.2"}, super_devices={0: 37748736, 1: -2}, super_pod=3)
TWO_NAMES = ("Ascend910-1", "Ascend910-0")


@pytest.mark.parametrize(
    ("generation", "chips", "text"),
    [
        pytest.param(
            "7.2",
            PLAIN,
            '{"pod_name":"r100-worker-0","server_id":"10.0.0.11","super_pod_id":-2,"devices":['
            '{"device_id":"0","device_ip":"192.168.101.2","super_device_id":"0"},'
            '{"device_id":"1","device_ip":"-1","super_device_id":"0"}]}',
            id="7.2, 910A",
        ),
        pytest.param(
            "7.2",
            SUPER_POD,
            '{"pod_name":"r100-worker-0","server_id":"10.0.0.11","super_pod_id":3,"devices":['
            '{"device_id":"0","device_ip":"192.168.101.2","super_device_id":"37748736"},'
            '{"device_id":"1","device_ip":"192.168.102.2","super_device_id":"-2"}]}',
            id="7.2, super pod",
        ),
        pytest.param(
            "7.3",
            SUPER_POD,
            '{"pod_name":"r100-worker-0","server_id":"6b1c0f3e","host_ip":"10.0.0.11","super_pod_id":3,"devices":['
            '{"device_id":"0","device_ip":"192.168.101.2","super_device_id":"37748736"},'
            '{"device_id":"1","device_ip":"192.168.102.2","super_device_id":"-2"}]}',
            id="7.3, super pod",
        ),
        pytest.param(
            "26.1",
            PLAIN,
            '{"pod_name":"r100-worker-0","server_id":"6b1c0f3e","host_ip":"10.0.0.11","super_pod_id":-2,"devices":['
            '{"device_id":"0","device_ip":"192.168.101.2","super_device_id":"0"},'
            '{"device_id":"1","device_ip":"-1","super_device_id":"0"}],'
            '"rack_id":0,"server_index":"-2","server_ip":"10.0.0.11"}',
            id="26.1, 910B",
        ),
    ],
)
def test_each_release_writes_its_own_bytes(generation: Generation, chips: Chips, text: str) -> None:
    assert annotations_of(HOLDER, TWO_NAMES, chips, generation)[CONFIGURATION] == text


def test_names_are_sorted_as_texts_and_chips_by_their_numbers() -> None:
    names = [device_name(chip) for chip in (11, 2, 10, 1)]
    written = annotations_of(HOLDER, names, PLAIN, "7.2")
    listed = "Ascend910-1,Ascend910-10,Ascend910-11,Ascend910-2"
    assert written[KUBELET_DEVICES] == written[REAL_DEVICES] == written[VOLCANO_DEVICES] == listed
    order = [part.partition('"')[0] for part in written[CONFIGURATION].split('"device_id":"')[1:]]
    assert order == ["1", "2", "10", "11"]


def test_later_releases_leave_volcanos_annotation_to_volcano() -> None:
    assert VOLCANO_DEVICES not in annotations_of(HOLDER, TWO_NAMES, PLAIN, "26.1")


def test_what_volcano_gave_is_real_and_what_the_kubelet_believes_is_told_beside_it() -> None:
    written = annotations_of(HOLDER, TWO_NAMES, PLAIN, "7.2", kubelet_names=("Ascend910-7", "Ascend910-6"))
    assert written[KUBELET_DEVICES] == "Ascend910-6,Ascend910-7"
    assert written[REAL_DEVICES] == "Ascend910-0,Ascend910-1"
