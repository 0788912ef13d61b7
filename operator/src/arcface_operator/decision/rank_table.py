"""The rank table (hccl.json) of MindX: from the annotations that the device plugin writes on the rank pods.

Format, rank formula and choice of version follow the ascend-operator of Ascend's mind-cluster: version 1.0, and 1.2 for
Atlas A3 super pods. What it makes is held against HCCL's own rules (`arcface_api.contract.rank_table_rules`).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arcface_api.contract.rank_table import RankedDevice, RankTableDocument, Server, ServerReference, SuperPod
from arcface_api.contract.rank_table_rules import (
    HIGHEST_DEVICE_ID_OF_910A,
    PLAIN_VERSION,
    SUPER_POD_VERSION,
    rank_table_faults,
)
from arcface_api.names import MACHINES_OF_910A
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_api.resource.status import RankTableStatus
from arcface_operator.decision.device_annotation import (
    NO_SUPER_DEVICE,
    UNREADABLE,
    Configuration,
    Device,
    other_plugin,
    parse_configuration,
)
from arcface_operator.decision.observation import PodView
from arcface_operator.manifests.rank_table_size import DATA_LIMIT
from arcface_operator.manifests.super_pods import has_super_pods, pods_per_super_pod

LOOPBACK = "127."
"""Begin of the address that a card has where none was ever set."""


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
    """A pod with its cards, sorted by their numbers."""

    pod: PodView
    address: str
    configuration: Configuration

    @property
    def server(self) -> str:
        """Address of its node.

        Two pods on one node are one server to HCCL, which takes no table with a node twice (EI0014). So a server is
        named by its node, as plugins up to 7.2 do, and as ascend-operator does for later ones where all pods are on
        different nodes. Pods are not kept apart by an anti-affinity of ours: as a rule it would let a job of several
        pods wait for ever where one node has all the cards, as a wish it would trade HCCS for the slower network. Who
        wants it writes it into the template.
        """
        return self.configuration.host_ip or self.pod.host_address or self.configuration.server_id


def table_version(pods: Sequence[PodView], annotation: str) -> str:
    """Hash of all that a gang's table is made of, apart from the spec, which stays.

    It tells whether a table is another one without making it: for 2,048 pods with 8 cards that takes far longer.
    """
    facts = (f"{pod.index} {pod.address} {pod.host_address} {pod.annotations.get(annotation)}" for pod in pods)
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def complete(spec: ArcFaceTrainingJobSpec) -> RankTableStatus:
    """Status of a table that all ranks are in."""
    return RankTableStatus(state="completed", ready=spec.workers.world_size, total=spec.workers.world_size)


def assemble(spec: ArcFaceTrainingJobSpec, pods: Sequence[PodView], annotation: str) -> RankTable:
    """The rank table of the pods of one attempt.

    Args:
        spec: of the job.
        pods: rank pods, in the order of their ranks; some may not be there yet.
        annotation: name under which the device plugin writes a pod's devices.
    """
    waiting, members = list[str](), list[Member]()
    problem: str | None = None
    for pod in pods:
        found = _member(pod, annotation, spec.workers.devices_per_worker)
        if isinstance(found, Member):
            members.append(found)
        else:
            waiting.append(pod.name)
            problem = problem or found
    if waiting or len(members) < spec.workers.replicas:
        return _incomplete(spec, members, waiting, problem)
    return _unknown_cards(spec, members) or _checked(spec, members)


def _member(pod: PodView, annotation: str, devices: int) -> Member | str | None:
    """The pod with its cards; None where it has to be waited for, or what is wrong with it."""
    text = pod.annotations.get(annotation)
    if text is None:
        sentence = other_plugin(pod.annotations, annotation)
        return None if sentence is None else f"pod {pod.name}: {sentence}"
    if pod.address is None:
        return None
    configuration = parse_configuration(text)
    if isinstance(configuration, str):
        return f"pod {pod.name}: {configuration}"
    if len(configuration.devices) != devices:
        return f"pod {pod.name} was given {len(configuration.devices)} devices, devicesPerWorker is {devices}"
    return Member(pod, pod.address, configuration)


def _unknown_cards(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> RankTable | None:
    """A table that cannot be made, since the plugin could not ask cards for what HCCL has to know of them."""
    names = list[str]()
    what = "super_device_id (-2)"
    if has_super_pods(spec):
        names = _names(members, lambda device: device.super_device_id in {None, NO_SUPER_DEVICE})
    if not names and _needs_addresses(spec, members):
        what = "network address"
        names = _names(members, lambda device: not _is_known(device.device_ip))
    if not names:
        return None
    problem = f"the device plugin does not know the {what} of a card of {', '.join(names)}"
    return _incomplete(spec, members, names, problem)


def _names(members: Sequence[Member], is_unknown: Callable[[Device], bool]) -> list[str]:
    """Pods with such a card."""
    return [member.pod.name for member in members if any(map(is_unknown, member.configuration.devices))]


def _is_known(address: str) -> bool:
    """Whether another server can reach a card under this address."""
    return address not in {"", UNREADABLE} and not address.startswith(LOOPBACK)


def _needs_addresses(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> bool:
    """Whether cards talk over their network ports: within a server they have HCCS, within a super pod its bus."""
    if has_super_pods(spec):
        return len(_super_pods(spec, members)) > 1
    return len({member.server for member in members}) > 1


def _incomplete(
    spec: ArcFaceTrainingJobSpec, members: Sequence[Member], missing: Sequence[str], problem: str | None
) -> RankTable:
    """A table that some pods are missing from."""
    absent = set(missing)
    ready = sum(len(member.configuration.devices) for member in members if member.pod.name not in absent)
    total = spec.workers.world_size
    status = RankTableStatus(state="initializing", ready=min(ready, total), total=total, missing=list(missing))
    return RankTable(status, problem=problem)


def _checked(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> RankTable:
    """The completed table, if HCCL would take it and a ConfigMap hold it."""
    table = _document(spec, members)
    highest = HIGHEST_DEVICE_ID_OF_910A if spec.workers.accelerator_type in MACHINES_OF_910A else None
    if (fault := next(rank_table_faults(table, highest), None)) is not None:
        return _incomplete(spec, members, (), f"HCCL would refuse the rank table: {fault}")
    document = table.to_json()
    if len(document) > DATA_LIMIT:
        problem = f"the rank table has {len(document):,} bytes, a ConfigMap holds {DATA_LIMIT:,}: use fewer ranks"
        return _incomplete(spec, members, (), problem)
    return RankTable(complete(spec), document)


def _document(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> RankTableDocument:
    """The completed table."""
    servers = _by_server(members)
    super_pods = _super_pods(spec, members) if has_super_pods(spec) else None
    return RankTableDocument(
        status="completed",
        version=PLAIN_VERSION if super_pods is None else SUPER_POD_VERSION,
        server_count=str(len(servers)),
        server_list=[_server(name, pods, is_super=super_pods is not None) for name, pods in servers.items()],
        super_pod_list=None
        if super_pods is None
        else [
            SuperPod(super_pod_id=str(place), server_list=[ServerReference(server_id=name) for name in names])
            for place, names in enumerate(super_pods)
        ],
    )


def _by_server(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Pods by their nodes, in the order of the first rank of each."""
    servers: dict[str, list[Member]] = {}
    for member in members:
        servers.setdefault(member.server, []).append(member)
    return servers


def _server(name: str, members: Sequence[Member], *, is_super: bool) -> Server:
    """One node's entry, its cards in the order of their ranks."""
    address = members[0].address
    return Server(
        server_id=name,
        host_ip=name,
        container_ip=address,
        device=[
            RankedDevice(
                device_id=device.device_id,
                device_ip=device.device_ip if _is_known(device.device_ip) else None,
                super_device_id=device.super_device_id if is_super else None,
                rank_id=str(member.pod.index * len(member.configuration.devices) + position),
                container_ip=None if member.address == address else member.address,
            )
            for member in members
            for position, device in enumerate(member.configuration.devices)
        ],
    )


def _super_pods(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> list[list[str]]:
    """Servers of each logical super pod: those of consecutive pods."""
    pods = pods_per_super_pod(spec)
    found: dict[int, list[str]] = {}
    for name, (first, *_) in _by_server(members).items():
        found.setdefault(first.pod.index // pods, []).append(name)
    return list(found.values())
