"""Faults of cards as MindX tells of them, in ConfigMaps of the device plugin or of clusterd; pure.

The format is mind-cluster's (documentation "Chip Resources" and "Cluster Resources", releases 5.0 to 26.1;
`ascend-device-plugin/pkg/common/proto.go`, `NodeDeviceInfoCache` and `DeviceFault`): JSON in which, for each resource,
`<resource>-Fault` holds a JSON list once more. Plugins without it name cards in `-Unhealthy` and `-NetworkUnhealthy`
alone. Which levels interfere with a job is said by clusterd (`GetStateLevelByFaultLevel`); a card to be isolated later
(PreSeparateNPU) is judged by whether the training on it fails, and is only asked about where one has. CheckCode, a hash
over the rest, is not looked at. Nobody has tried this with cards yet.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from arcface_api.model import Model

DEVICE_INFO, DEVICE_INFO_KEY = "mindx-dl-deviceinfo-", "DeviceInfoCfg"
"""Prefix, before a node's name, of the device plugin's ConfigMaps, and their key."""
FAULTS, UNHEALTHY = "-Fault", ("-Unhealthy", "-NetworkUnhealthy")
OF_THE_NODE = "NodeUnhealthy"
INTERFERING = frozenset(
    {
        "RestartRequest",
        "RestartBusiness",
        "RestartNPU",
        "FreeRestartNPU",
        "SeparateNPU",
        "ManuallySeparateNPU",
        "PreSeparateNPU",
        *(suffix.removeprefix("-") for suffix in UNHEALTHY),
        OF_THE_NODE,
    }
)
"""Levels of handling; the last three stand for what is told without one."""
LONGEST_TEXT = 128


@dataclass(frozen=True, kw_only=True)
class DeviceFault:
    """A fault of a card, or of a node as a whole."""

    card: str
    """Such as Ascend910-3, the number being the physical one; empty where the node is meant."""
    code: str
    """Fault codes of the driver, comma-separated."""
    level: str
    """How MindX handles it."""

    def befalls(self, cards: Collection[str]) -> bool:
        """Whether it interferes with a pod that has the cards of these physical numbers."""
        return self.level in INTERFERING and (not self.card or self.card.rpartition("-")[2] in cards)


class _ToldFault(Model):
    """An item of the list."""

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    fault_type: str = ""
    npu_name: str = ""
    fault_handling: str = ""
    fault_level: str = ""
    large_model_fault_level: str = ""
    fault_code: str = ""

    def read(self) -> DeviceFault:
        """What it says; the three levels mean the same, and older plugins have not all of them."""
        level = self.fault_handling or self.fault_level or self.large_model_fault_level
        if self.fault_type == OF_THE_NODE:
            level = OF_THE_NODE
        card, code = self.npu_name[:LONGEST_TEXT], self.fault_code[:LONGEST_TEXT]
        return DeviceFault(card=card, code=code, level=level[:LONGEST_TEXT])


class _NodeDevices(Model):
    """The cards of a node."""

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    device_list: dict[str, str] = Field(alias="DeviceList")


class _DeviceInfo(Model):
    """What the plugin writes."""

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    device_info: _NodeDevices = Field(alias="DeviceInfo")


_TOLD_FAULTS = TypeAdapter(list[_ToldFault])
_PARTS = TypeAdapter(dict[str, Any])


def read_plugin(data: Mapping[str, str]) -> tuple[DeviceFault, ...] | None:
    """Faults in a ConfigMap of the device plugin; None where it is not as documented, which is no fault of a card."""
    try:
        told = _DeviceInfo.model_validate_json(data.get(DEVICE_INFO_KEY, ""))
    except ValidationError:
        return None
    return tuple(_read_devices(told.device_info.device_list))


def read_clusterd(text: str, nodes: Collection[str]) -> dict[str, tuple[DeviceFault, ...]]:
    """Faults of those of the nodes that clusterd tells of in one of its ConfigMaps."""
    found = {}
    told = _mapping(text)
    for node in nodes:
        if (devices := told.get(f"{DEVICE_INFO}{node}")) is not None:
            found[node] = tuple(_read_devices(_NodeDevices.model_validate(devices).device_list))
    return found


def _mapping(text: str) -> dict[str, Any]:
    """A JSON object, of which those parts are left that are cards of a node."""
    try:
        told = _PARTS.validate_json(text)
    except ValidationError:
        return {}
    return {name: part for name, part in told.items() if _is_readable(part)}


def _is_readable(part: object) -> bool:
    """Whether a part of clusterd's answer is of the documented form."""
    try:
        _NodeDevices.model_validate(part)
    except ValidationError:
        return False
    return True


def _read_devices(devices: Mapping[str, str]) -> Iterator[DeviceFault]:
    """Faults of all resources of a node."""
    for name, text in devices.items():
        if name.endswith(FAULTS):
            yield from _read_list(text)
        elif name.endswith(UNHEALTHY) and f"{name.rpartition('-')[0]}{FAULTS}" not in devices:
            level = name.rpartition("-")[2]
            yield from (DeviceFault(card=card[:LONGEST_TEXT], code="", level=level) for card in text.split(",") if card)


def _read_list(text: str) -> Iterator[DeviceFault]:
    """Faults of one resource."""
    try:
        told = _TOLD_FAULTS.validate_json(text)
    except ValidationError:
        return
    yield from (fault.read() for fault in told)
