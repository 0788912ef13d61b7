"""What Ascend's device plugin writes on a pod: the chips it got, byte by byte as releases of MindX do.

Read in mind-cluster, `ascend-device-plugin`, at the tags v7.2.RC1, v7.3.0 and v26.1.0: `AddPodAnnotation` and
`getConfigAnno` (pkg/device/ascendcommon.go), `GetPodConfiguration` (pkg/common/common.go) and the structs `Instance`
and `Device` (pkg/common/proto.go), whose fields are written in their order, none left out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

CONFIGURATION = "ascend.kubectl.kubernetes.io/ascend-910-configuration"
VOLCANO_DEVICES = "huawei.com/Ascend910"
REAL_DEVICES = "huawei.com/AscendReal"
KUBELET_DEVICES = "huawei.com/kltDev"
UNKNOWN_ADDRESS = "-1"
"""Device IP where the plugin's look-up failed."""
UNKNOWN, NO_SUPER_DEVICE = -2, 0
"""Numbers of what is no super pod, and of a chip in none: the plugin's default for a chip that tells no number."""

Generation = Literal["7.2", "7.3", "26.1"]
"""Up to 7.2 `server_id` is the node's address; since 7.3 it is the pod's uid, beside host_ip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A pod with devices."""

    name: str
    uid: str
    node_address: str


@dataclass(frozen=True, kw_only=True)
class Chips:
    """What the driver of a node says of its chips, by their numbers."""

    addresses: Mapping[int, str]
    """Of their network cards; a chip that is left out cannot be asked."""
    super_devices: Mapping[int, int] = field(default_factory=dict)
    """Their numbers in the super pod, on Atlas A3."""
    super_pod: int = UNKNOWN


def device_name(chip: int) -> str:
    """A chip's name for the kubelet and in annotations."""
    return f"Ascend910-{chip}"


def chip_of(name: str) -> int:
    """Number of a chip from its name."""
    return int(name.rpartition("-")[2])


def annotations_of(
    holder: Holder, names: Sequence[str], chips: Chips, generation: Generation, kubelet_names: Sequence[str] = ()
) -> dict[str, str]:
    """The annotations of a pod.

    Args:
        holder: the pod.
        names: devices that it has, in any order.
        chips: of its node.
        generation: of the plugin.
        kubelet_names: devices that the kubelet believes it has, where Volcano gave it others.
    """
    listed = ",".join(sorted(names))  # as texts: -1, -10, -11, -2
    written = {KUBELET_DEVICES: ",".join(sorted(kubelet_names or names)), REAL_DEVICES: listed}
    if generation != "26.1":
        written[VOLCANO_DEVICES] = listed
    content = configuration(holder, sorted(map(chip_of, names)), chips, generation)
    return {**written, CONFIGURATION: json.dumps(content, separators=(",", ":"))}


def configuration(holder: Holder, numbers: Sequence[int], chips: Chips, generation: Generation) -> dict[str, object]:
    """Content of the configuration annotation; here the chips are in the order of their numbers."""
    devices = [
        {
            "device_id": str(number),
            "device_ip": chips.addresses.get(number, UNKNOWN_ADDRESS),
            "super_device_id": str(chips.super_devices.get(number, NO_SUPER_DEVICE)),
        }
        for number in numbers
    ]
    node, content = {"super_pod_id": chips.super_pod, "devices": devices}, {"pod_name": holder.name}
    if generation == "7.2":
        return {**content, "server_id": holder.node_address, **node}
    content |= {"server_id": holder.uid, "host_ip": holder.node_address}
    if generation == "7.3":
        return {**content, **node}
    # Rack and server are told on A5 and in super pods only.
    return {**content, **node, "rack_id": 0, "server_index": str(UNKNOWN), "server_ip": holder.node_address}
