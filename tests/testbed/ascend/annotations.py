"""What Ascend's device plugin writes on a pod: the chips it got, in the exact formats of MindX."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CONFIGURATION = "ascend.kubectl.kubernetes.io/ascend-910-configuration"
REAL_DEVICES = "huawei.com/AscendReal"
KUBELET_DEVICES = "huawei.com/kltDev"
UNKNOWN_ADDRESS = "-1"
"""Device IP where the plugin's look-up failed."""

Generation = Literal["7.2", "7.3"]
"""Up to 7.2 `server_id` is the node's address; since 7.3 it is the pod's uid, beside host_ip and server_ip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A pod with devices."""

    name: str
    uid: str
    node_address: str


def device_name(chip: int) -> str:
    """A chip's name for the kubelet and in annotations."""
    return f"Ascend910-{chip}"


def chip_of(name: str) -> int:
    """Number of a chip from its name."""
    return int(name.rpartition("-")[2])


def visible_devices(names: Sequence[str]) -> str:
    """Value of ASCEND_VISIBLE_DEVICES."""
    return ",".join(str(chip) for chip in sorted(map(chip_of, names)))


def annotations_of(
    holder: Holder, names: Sequence[str], addresses: dict[int, str], generation: Generation
) -> dict[str, str]:
    """The annotations of a pod that holds the named devices; `addresses` are those of the chips' network cards."""
    chips = sorted(map(chip_of, names))
    listed = ",".join(map(device_name, chips))
    return {
        KUBELET_DEVICES: listed,
        REAL_DEVICES: listed,
        CONFIGURATION: json.dumps(configuration(holder, chips, addresses, generation), separators=(",", ":")),
    }


def configuration(
    holder: Holder, chips: Sequence[int], addresses: dict[int, str], generation: Generation
) -> dict[str, object]:
    """Content of the configuration annotation."""
    devices = [{"device_id": str(chip), "device_ip": addresses.get(chip, UNKNOWN_ADDRESS)} for chip in chips]
    if generation == "7.2":
        return {"pod_name": holder.name, "server_id": holder.node_address, "devices": devices}
    return {
        "pod_name": holder.name,
        "server_id": holder.uid,
        "host_ip": holder.node_address,
        "server_ip": holder.node_address,
        "devices": devices,
    }
