"""The rank table (hccl.json) of MindX: from the annotations that the device plugin writes on the rank pods.

Format, rank formula and checks follow the ascend-operator of Ascend's mind-cluster: version 1.0, and 1.2 for Atlas A3
super pods. All scalars of the document are strings.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from arcface_api.contract.rank_table import RankedDevice, RankTableDocument, Server, ServerReference, SuperPod
from arcface_api.model import Model, describe
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_api.resource.status import RankTableStatus
from arcface_operator.decision.observation import PodView

UNREADABLE = "-1"
"""What the device plugin writes where the address of a card's network port could not be read."""
LOOPBACK = "127."
"""Begin of what it writes where no address was ever set: good enough within one server."""
SUPER_POD_POLICIES = {"chip2-node16-sp", "chip2-node8-sp"}
SUPER_POD_MACHINES = {"module-a3-16-super-pod", "module-a3-8-super-pod"}


class Device(Model):
    """A card in the plugin's annotation; newer plugins write more about it."""

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    device_id: Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
    device_ip: str = ""
    super_device_id: str | None = None


class Configuration(Model):
    """The plugin's annotation on one pod."""

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    server_id: Annotated[str, Field(min_length=1)]
    host_ip: str | None = None
    devices: list[Device]


@dataclass(frozen=True)
class RankTable:
    """The table as far as it is known."""

    status: RankTableStatus
    document: str | None = None
    """hccl.json, once it is complete."""
    problem: str | None = None
    """What a user has to mend: waiting alone will not complete the table."""


@dataclass(frozen=True)
class Member:
    """A pod with its devices, sorted by their numbers."""

    pod: PodView
    configuration: Configuration
    devices: tuple[Device, ...]


def _is_super_pod(spec: ArcFaceTrainingJobSpec) -> bool:
    """Whether the job asks for super pods, by the marks that mind-cluster goes by."""
    template = spec.workers.template or {}
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    selector = (template.get("spec") or {}).get("nodeSelector") or {}
    return (
        "sp-block" in annotations
        or annotations.get("huawei.com/schedule_policy") in SUPER_POD_POLICIES
        or selector.get("accelerator-type") in SUPER_POD_MACHINES
    )


def _super_pod_block(spec: ArcFaceTrainingJobSpec) -> int:
    """Devices of one logical super pod; the whole job is one where no block is asked for."""
    annotations = ((spec.workers.template or {}).get("metadata") or {}).get("annotations") or {}
    block = str(annotations.get("sp-block", ""))
    return int(block) if re.fullmatch("0*[1-9][0-9]{0,8}", block) else spec.workers.world_size


def assemble(spec: ArcFaceTrainingJobSpec, pods: Sequence[PodView], annotation: str) -> RankTable:
    """The rank table of the pods of one attempt.

    Args:
        spec: of the job.
        pods: rank pods, in the order of their ranks; some may not be there yet.
        annotation: name under which the device plugin writes a pod's devices.
    """
    workers = spec.workers
    waiting = [pod.name for pod in pods if annotation not in pod.annotations or pod.address is None]
    members: list[Member] = []
    for pod in pods:
        if pod.name in waiting:
            continue
        member = _parse(pod, pod.annotations[annotation])
        problem = member if isinstance(member, str) else _check(member, workers.devices_per_worker)
        if problem is not None:
            return _incomplete(spec, members, [*waiting, pod.name], problem)
        if isinstance(member, Member):
            members.append(member)
    if twice := _duplicate(members):
        return _incomplete(spec, members, waiting, twice)
    if waiting or len(members) < workers.replicas:
        return _incomplete(spec, members, waiting, None)
    if unknown := _without_address(spec, members):
        problem = f"the device plugin does not know the network address of a card of {', '.join(unknown)}"
        return _incomplete(spec, members, unknown, problem)
    state = RankTableStatus(state="completed", ready=workers.world_size, total=workers.world_size)
    return RankTable(state, _document(spec, members).to_json())


def _parse(pod: PodView, text: str) -> Member | str:
    """The pod's devices, or what is wrong with the annotation."""
    try:
        configuration = Configuration.model_validate_json(text)
    except ValidationError as error:
        return f"pod {pod.name}: the device plugin's annotation cannot be read ({describe(error)})"
    return Member(pod, configuration, tuple(sorted(configuration.devices, key=lambda device: int(device.device_id))))


def _check(member: Member, devices: int) -> str | None:
    """What is wrong with one pod's devices."""
    if len(member.devices) != devices:
        return f"pod {member.pod.name} was given {len(member.devices)} devices, devicesPerWorker is {devices}"
    return None


def _duplicate(members: Sequence[Member]) -> str | None:
    """Ranks and cards that two pods claim."""
    ranks = Counter(member.pod.index for member in members)
    if repeated := [index for index, count in ranks.items() if count > 1]:
        return f"two pods have the index {repeated[0]}"
    # A server is named by its node or by its pod, depending on the plugin's release: the node tells cards apart.
    cards = Counter((member.pod.node, device.device_id) for member in members for device in member.devices)
    if shared := [card for card, count in cards.items() if count > 1]:
        node, device = shared[0]
        return f"card {device} of node {node} was given twice"
    if len(members) == 1:
        return None
    addresses = Counter(device.device_ip for member in members for device in member.devices)
    doubles = [address for address, count in addresses.items() if count > 1 and _is_known(address)]
    return f"the network address {doubles[0]} is that of two cards" if doubles else None


def _is_known(address: str) -> bool:
    """Whether another server can reach a card under this address."""
    return address not in {"", UNREADABLE} and not address.startswith(LOOPBACK)


def _without_address(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> list[str]:
    """Pods with a card whose address the table needs and nobody knows.

    Within one super pod cards talk over its own bus, within one server over HCCS.
    """
    if _is_super_pod(spec) and len(_super_pods(spec, members)) == 1:
        return []
    if len(members) == 1:
        return [
            member.pod.name for member in members if any(device.device_ip == UNREADABLE for device in member.devices)
        ]
    return [member.pod.name for member in members if not all(_is_known(device.device_ip) for device in member.devices)]


def _incomplete(
    spec: ArcFaceTrainingJobSpec, members: Sequence[Member], missing: Sequence[str], problem: str | None
) -> RankTable:
    """A table that some pods are missing from."""
    ready = sum(len(member.devices) for member in members if member.pod.name not in missing)
    total = spec.workers.world_size
    status = RankTableStatus(state="initializing", ready=min(ready, total), total=total, missing=list(missing))
    return RankTable(status, problem=problem)


def _document(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> RankTableDocument:
    """The completed table."""
    is_super = _is_super_pod(spec)
    return RankTableDocument(
        status="completed",
        version="1.2" if is_super else "1.0",
        server_count=str(len(members)),
        server_list=[_server(member, with_super_device=is_super) for member in members],
        super_pod_list=[
            SuperPod(super_pod_id=identity, server_list=[ServerReference(server_id=name) for name in servers])
            for identity, servers in _super_pods(spec, members).items()
        ]
        if is_super
        else None,
    )


def _server(member: Member, *, with_super_device: bool) -> Server:
    """One pod's entry."""
    first_rank = member.pod.index * len(member.devices)
    return Server(
        server_id=member.configuration.server_id,
        host_ip=member.configuration.host_ip or member.pod.host_address or member.configuration.server_id,
        container_ip=member.pod.address,
        device=[
            RankedDevice(
                device_id=device.device_id,
                device_ip=device.device_ip,
                super_device_id=device.super_device_id if with_super_device else None,
                rank_id=str(first_rank + position),
            )
            for position, device in enumerate(member.devices)
        ],
    )


def _super_pods(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> dict[str, list[str]]:
    """Servers by logical super pod: consecutive blocks of the ranks."""
    pods_per_block = max(1, _super_pod_block(spec) // spec.workers.devices_per_worker)
    found: dict[str, list[str]] = {}
    for member in members:
        found.setdefault(str(member.pod.index // pods_per_block), []).append(member.configuration.server_id)
    return found
