"""The rank table (hccl.json) of MindX: from the annotations that the device plugin writes on the rank pods.

Format, rank formula and choice of version follow the ascend-operator of Ascend's mind-cluster: version 1.0, and 1.2 for
Atlas A3 super pods. What it makes is held against HCCL's own rules (`arcface_api.contract.rank_table_rules`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

from arcface_api.contract import rank_table_rules as rules
from arcface_api.contract.rank_table import RankedDevice, RankTableDocument, Server, ServerReference, SuperPod
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_api.resource.status import RankTableStatus
from arcface_operator.decision import device_annotation
from arcface_operator.decision.observation import PodView
from arcface_operator.manifests.card_placement import has_super_pods, pods_per_super_pod
from arcface_operator.manifests.rank_table_size import DATA_LIMIT

NAMES_TOLD = 20
"""Of pods that a table waits for; a status with thousands of names would be read and written again and again."""


@dataclass(frozen=True)
class RankTable:
    """The table as far as it is known."""

    status: RankTableStatus
    document: str | None = None
    """hccl.json, once it is complete."""
    problem: str | None = None
    """What a user has to mend: waiting alone will not complete the table."""


@dataclass(frozen=True)
class Cards:
    """A pod's cards as the table lists them, in the order of their numbers and ranks."""

    configuration: device_annotation.Configuration
    ranked: tuple[RankedDevice, ...]
    are_reachable: bool
    """Whether other servers reach all of them."""
    are_numbered: bool
    """Whether all have a number in their super pod."""


@dataclass(frozen=True)
class Member:
    """A pod with its cards."""

    pod: PodView
    address: str
    cards: Cards

    @property
    def server(self) -> str:
        """Address of its node.

        Two pods on one node are one server to HCCL, which takes no table with a node twice (EI0014). So a server is
        named by its node, as plugins up to 7.2 do, and as ascend-operator does for later ones where all pods are on
        different nodes. Pods are not kept apart by an anti-affinity of ours: as a rule it would let a job of several
        pods wait for ever where one node has all the cards, as a wish it would trade HCCS for the slower network. Who
        wants it writes it into the template.
        """
        written = self.cards.configuration
        return written.host_ip or self.pod.host_address or written.server_id


def table_version(pods: Sequence[PodView], annotation: str, launch: int | None = None) -> str:
    """Hash of all that a gang's table is made of, apart from the spec, which stays.

    It tells whether a table is another one without making it: for 2,048 pods with 8 cards that takes far longer.
    """
    facts = (f"{pod.index} {pod.address} {pod.host_address} {pod.annotations.get(annotation)}" for pod in pods)
    launches = () if launch is None else (f"launch {launch}",)
    return hashlib.sha256("\n".join([*facts, *launches]).encode()).hexdigest()


def complete(spec: ArcFaceTrainingJobSpec) -> RankTableStatus:
    """Status of a table that all ranks are in."""
    return RankTableStatus(state="completed", ready=spec.workers.world_size, total=spec.workers.world_size)


def assemble(
    spec: ArcFaceTrainingJobSpec, pods: Sequence[PodView], annotation: str, launch: int | None = None
) -> RankTable:
    """The rank table of the pods of one attempt.

    Args:
        spec: of the job.
        pods: rank pods, in the order of their ranks; some may not be there yet.
        annotation: name under which the device plugin writes a pod's devices.
        launch: of the ranks, for which one of the pods was made anew; None where none was.
    """
    waiting, members, is_super = list[str](), list[Member](), has_super_pods(spec)
    problem: str | None = None
    for pod in pods:
        found = _member(pod, annotation, spec.workers.devices_per_worker, is_super=is_super)
        if isinstance(found, Member):
            members.append(found)
        else:
            waiting.append(pod.name)
            problem = problem or found
    if waiting or len(members) < spec.workers.replicas:
        return _incomplete(spec, members, waiting, problem)
    return _unknown_cards(spec, members) or _checked(spec, members, launch)


def _member(pod: PodView, annotation: str, devices: int, *, is_super: bool) -> Member | str | None:
    """The pod with its cards; None where it has to be waited for, or what is wrong with it."""
    text = pod.annotations.get(annotation)
    if text is None:
        sentence = device_annotation.other_plugin(pod.annotations, annotation)
        return None if sentence is None else f"pod {pod.name}: {sentence}"
    if pod.address is None:
        return None
    cards = _cards(text, pod.index * devices, is_super=is_super)
    if isinstance(cards, str):
        return f"pod {pod.name}: {cards}"
    if len(cards.ranked) != devices:
        return f"pod {pod.name} was given {len(cards.ranked)} devices, devicesPerWorker is {devices}"
    return Member(pod, pod.address, cards)


# Made once for what is written on a pod: a table of thousands of cards is put together from what is there.
@lru_cache(maxsize=device_annotation.PODS_REMEMBERED)
def _cards(text: str, first_rank: int, *, is_super: bool) -> Cards | str:
    """The cards by a pod's annotation, or what is wrong with it."""
    configuration = device_annotation.parse_configuration(text)
    if isinstance(configuration, str):
        return configuration
    devices = configuration.devices
    ranked = [
        RankedDevice(
            device_id=device.device_id,
            device_ip=device.device_ip,
            super_device_id=device.super_device_id if is_super else None,
            rank_id=str(rank),
        )
        for rank, device in enumerate(devices, start=first_rank)
    ]
    return Cards(
        configuration,
        tuple(ranked),
        are_reachable=all(device.device_ip is not None for device in devices),
        are_numbered=all(device.super_device_id is not None for device in devices),
    )


def _unknown_cards(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> RankTable | None:
    """A table that cannot be made, since the plugin could not ask cards for what HCCL has to know of them."""
    names = list[str]()
    what = "super_device_id (-2)"
    if has_super_pods(spec):
        names = [member.pod.name for member in members if not member.cards.are_numbered]
    if not names and _needs_addresses(spec, members):
        what = "network address"
        names = [member.pod.name for member in members if not member.cards.are_reachable]
    if not names:
        return None
    found = _incomplete(spec, members, names, None)
    problem = f"the device plugin does not know the {what} of a card of {found.status.missing_in_words}"
    return replace(found, problem=problem)


def _needs_addresses(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> bool:
    """Whether cards talk over their network ports: within a server they have HCCS, within a super pod its bus."""
    if has_super_pods(spec):
        return len(_super_pods(spec, members)) > 1
    return len({member.pod.node or member.server for member in members}) > 1


def _incomplete(
    spec: ArcFaceTrainingJobSpec, members: Sequence[Member], missing: Sequence[str], problem: str | None
) -> RankTable:
    """A table that some pods are missing from."""
    absent = set(missing)
    ready = sum(len(member.cards.ranked) for member in members if member.pod.name not in absent)
    total = spec.workers.world_size
    status = RankTableStatus(
        state="initializing",
        ready=min(ready, total),
        total=total,
        missing=list(missing[:NAMES_TOLD]),
        missing_more=len(missing) - NAMES_TOLD if len(missing) > NAMES_TOLD else None,
    )
    return RankTable(status, problem=problem)


def _checked(spec: ArcFaceTrainingJobSpec, members: Sequence[Member], launch: int | None) -> RankTable:
    """The completed table, if HCCL would take it and a ConfigMap hold it."""
    table = _document(spec, members).model_copy(update={"launch": None if launch is None else str(launch)})
    faults = chain(rules.rank_table_faults(table), rules.machine_faults(table, spec.workers.accelerator_type))
    if (fault := next(faults, None)) is not None:
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
        version=rules.PLAIN_VERSION if super_pods is None else rules.SUPER_POD_VERSION,
        attempt=str(members[0].pod.attempt),
        server_count=str(len(servers)),
        server_list=[_server(name, pods) for name, pods in servers.items()],
        super_pod_list=None
        if super_pods is None
        else [
            SuperPod(super_pod_id=str(place), server_list=[ServerReference(server_id=name) for name in names])
            for place, names in enumerate(super_pods)
        ],
    )


def _by_server(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Pods by the addresses of their nodes, in the order of the first rank of each.

    Pods are on one server where Kubernetes says so: a node with several addresses, or one whose plugin was updated
    between two pods, may be called by more than one, of which the first is taken.
    """
    names, servers = dict[str, str](), dict[str, list[Member]]()
    for member in members:
        name = names.setdefault(member.pod.node or member.server, member.server)
        servers.setdefault(name, []).append(member)
    return servers


def _server(name: str, members: Sequence[Member]) -> Server:
    """One node's entry, its cards in the order of their ranks.

    Without `host_ip`, by which HCCL talks over the host's network card instead of the devices': up to CANN 8.0 always
    (cann-hccl, `CheckNicDeployConsistence`), later where rank 0's card has no address (hcomm, `DetectNicDepoly`).
    """
    first, *others = members
    devices = [*first.cards.ranked, *(card for member in others for card in _elsewhere(member))]
    return Server(server_id=name, container_ip=first.address, device=devices)


def _elsewhere(member: Member) -> Iterable[RankedDevice]:
    """The cards of a pod that has not the address of its server's first one."""
    return (card.model_copy(update={"container_ip": member.address}) for card in member.cards.ranked)


def _super_pods(spec: ArcFaceTrainingJobSpec, members: Sequence[Member]) -> list[list[str]]:
    """Servers of each logical super pod: those of consecutive pods."""
    pods = pods_per_super_pod(spec)
    found: dict[int, list[str]] = {}
    for name, (first, *_) in _by_server(members).items():
        found.setdefault(first.pod.index // pods, []).append(name)
    return list(found.values())
