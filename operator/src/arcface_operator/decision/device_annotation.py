"""What the Ascend device plugin writes on a pod: the cards that it was given.

In the format of mind-cluster's releases 5.0 to 26.1 (`ascend-device-plugin/pkg/common/proto.go`, `Instance`).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from arcface_api.contract.rank_table_rules import LOOPBACK_PREFIX
from arcface_api.model import Model, describe

UNREADABLE = "-1"
"""The address of a card whose network port the plugin could not ask."""
NO_SUPER_DEVICE = "-2"
"""The number in its super pod of a card that the plugin could not ask."""
A5_ANNOTATION = "ascend.kubectl.kubernetes.io/ascend-npu-configuration"
PODS_REMEMBERED = 4096
"""Two of the largest gangs whose rank table a ConfigMap holds; 8 cards of a pod take some 10 KiB."""


def _reachable(address: str | None) -> str | None:
    """The address, if another server can reach a card under it: one that was never set is one of the loopback's."""
    is_known = address and address != UNREADABLE and not address.startswith(LOOPBACK_PREFIX)
    return address if is_known else None


def _numbered(number: str | None) -> str | None:
    """The number, if the plugin knows it."""
    return None if number in {NO_SUPER_DEVICE, ""} else number


class Device(Model):
    """A card; newer plugins write more about it. What the plugin does not know of it is None."""

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    device_id: Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
    device_ip: Annotated[str | None, AfterValidator(_reachable)] = None
    """Of its network port, as other servers reach it."""
    super_device_id: Annotated[str | None, AfterValidator(_numbered)] = None
    """Number in its super pod."""


class Configuration(Model):
    """The cards of one pod."""

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    server_id: Annotated[str, Field(min_length=1)]
    """Address of the node up to release 7.2, uid of the pod from 7.3 on."""
    host_ip: str | None = None
    """Address of the node, from 7.3 on."""
    devices: tuple[Device, ...]


# A gang that starts is looked at for every pod that changes, and what is written on a pod stays as it is.
@lru_cache(maxsize=PODS_REMEMBERED)
def parse_configuration(text: str) -> Configuration | str:
    """The cards by the annotation, sorted by their numbers as in mind-cluster; or what is wrong with it."""
    try:
        found = Configuration.model_validate_json(text)
    except ValidationError as error:
        return f"the device plugin's annotation cannot be read ({describe(error)})"
    return found.model_copy(update={"devices": tuple(sorted(found.devices, key=lambda one: int(one.device_id)))})


def other_plugin(annotations: Mapping[str, str], expected: str) -> str | None:
    """What is said of a pod on which a plugin has written under another name than the expected one."""
    for name in annotations:
        if name == A5_ANNOTATION:
            return f"the device plugin wrote {name}: cards of A5 (950) take rank table 2.0, which is not supported yet"
        if name != expected and "/ascend-" in name and name.endswith("-configuration"):
            return f"the device plugin wrote {name}, the operator reads {expected}: set ascend.deviceAnnotation"
    return None
