"""What HCCL's parser demands of a rank table, a function for each rule and a sentence for each fault.

A table that breaks a rule ends every rank with EI0014, minutes after its pod has started. Source: HCCL's own parser
(CANN hcomm, `topoinfo_ranktableConcise.cc`, `GetSingleServer` to `CheckSuperPodInfo`). It passes over keys that it does
not know. Nobody has tried these tables on NPUs yet.
"""

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from arcface_api.contract.rank_table import RankedDevice, RankTableDocument, Server, SuperPod
from arcface_api.errors import InvalidInput

PLAIN_VERSION, SUPER_POD_VERSION = "1.0", "1.2"
VERSIONS = {None, PLAIN_VERSION, SUPER_POD_VERSION}
"""1.1 is for mixed kinds of chips, 2.0 for A5; tables written by hand may leave it out."""
LONGEST_SERVER_ID = 64
DIGITS, LARGEST_NUMBER = 10, 2**32 - 1
LOOPBACK_PREFIX = "127."
"""Begin of addresses that no other server reaches."""
HIGHEST_DEVICE_ID_OF_910A = 7
"""What HCCL takes on every chip but 910B, 910_93 (A3) and 310P."""
RINGS_OF_910A = frozenset({"module", "half"})
MACHINES_OF_910A = RINGS_OF_910A | {"card"}
"""Values of the node label accelerator-type; in the first, HCCS joins the cards."""
SIZES_OF_RINGS = frozenset({1, 2, 4, 8})
"""Cards of a job on a server where HCCS joins them (hcomm, `CheckDevCount`)."""


def check_rank_table(table: RankTableDocument, source: str) -> None:
    """Refuse a table that HCCL would not take.

    Args:
        table: a completed table.
        source: file that it came from, named in the error.

    Raises:
        InvalidInput: with the first fault.
    """
    if (fault := next(rank_table_faults(table), None)) is not None:
        raise InvalidInput(f"{source}: {fault}: HCCL takes no such table")


def rank_table_faults(table: RankTableDocument) -> Iterator[str]:
    """One sentence for each rule that a completed table breaks, in the order in which HCCL would meet them."""
    for rule in _RULES:
        yield from rule(table)


def machine_faults(table: RankTableDocument, machine: str) -> Iterator[str]:
    """The same for what HCCL demands besides on one kind of machine, by the nodes' label accelerator-type."""
    if machine in MACHINES_OF_910A:
        yield from _high_device_ids(table, HIGHEST_DEVICE_ID_OF_910A)
        yield from _uneven_servers(table)
    if machine in RINGS_OF_910A:
        yield from _odd_rings(table)


def _version(table: RankTableDocument) -> Iterator[str]:
    """A version that the parser of these tables is chosen by."""
    if table.version not in VERSIONS:
        yield f"version is {table.version!r}, must be 1.0, or 1.2 with super pods"


def _server_count(table: RankTableDocument) -> Iterator[str]:
    """As many servers as the table says, one at least."""
    count = len(_servers(table))
    if not count:
        yield "server_list is empty"
    if table.server_count not in {None, str(count)}:
        yield f"server_count is {table.server_count!r}, server_list has {count}"


def _server_ids(table: RankTableDocument) -> Iterator[str]:
    """A name for each server, of its own and not too long."""
    for place, server in enumerate(_servers(table)):
        if not server.server_id:
            yield f"server_list[{place}] has no server_id"
        elif len(server.server_id) > LONGEST_SERVER_ID:
            yield f"server_id {server.server_id!r} is longer than {LONGEST_SERVER_ID} characters"
    for identity in _repeated([server.server_id for server in _servers(table) if server.server_id]):
        yield f"server_id {identity} is that of two servers: all cards of a node belong into one"


def _host_addresses(table: RankTableDocument) -> Iterator[str]:
    """Addresses of nodes, where there are any."""
    for server in _servers(table):
        if server.host_ip is not None and not _is_address(server.host_ip):
            yield f"server {server.server_id}: host_ip {server.host_ip!r} is no IP address"


def _device_ids(table: RankTableDocument) -> Iterator[str]:
    """Cards in each server, each once, by number."""
    for server in _servers(table):
        if not server.device:
            yield f"server {server.server_id} has no device"
        for device in server.device:
            if not _is_number(device.device_id):
                yield f"rank {device.rank_id}: device_id {device.device_id!r} is no number"
        for identity in _repeated([device.device_id for device in server.device]):
            ranks = " and ".join(device.rank_id for device in server.device if device.device_id == identity)
            yield f"server {server.server_id}: device {identity} is that of ranks {ranks}"


def _ranks(table: RankTableDocument) -> Iterator[str]:
    """All ranks from 0, each once."""
    ranks = [device.rank_id for device in _devices(table)]
    wanted = set(map(str, range(len(ranks))))
    if wanted == set(ranks):
        return  # and hence each once
    for rank in ranks:
        if not _is_number(rank):
            yield f"rank_id {rank!r} is no number"
    for rank in _repeated(ranks):
        yield f"rank_id {rank} is that of two devices"
    if missing := wanted - set(ranks):
        yield f"rank_id {min(missing, key=int)} is missing among {len(ranks)} devices"


def _device_addresses(table: RankTableDocument) -> Iterator[str]:
    """Addresses of network ports where cards talk over these, each once, and as many for each card."""
    if _are_plain([device.device_ip for device in _devices(table)]):
        return
    is_needed = _needs_device_addresses(table)
    listed, counts = list[str](), dict[int, str]()
    for device in _devices(table):
        addresses = device.device_ip.split(",") if device.device_ip else []  # a card may have several ports
        listed += addresses
        counts.setdefault(len(addresses) or 1, device.rank_id)  # none counts as one that is not known
        if not addresses and is_needed:
            yield f"rank {device.rank_id} has no device_ip, which several servers need"
        for address in addresses:
            if (fault := _address_fault(address)) is not None:
                yield f"rank {device.rank_id}: device_ip {fault}"
    if len(counts) > 1:
        (one, first), (other, second), *_ = counts.items()
        yield f"rank {first} has {one} addresses in device_ip, rank {second} has {other}: all must have as many"
    for address in _repeated(listed):
        yield f"device_ip {address} is that of two devices"


def _are_plain(addresses: Sequence[str | None]) -> bool:
    """Whether each is one IPv4 address of its own that others reach: as a rule, and told of thousands at once."""
    try:
        for address in addresses:
            socket.inet_pton(socket.AF_INET, address or "")
    except (OSError, ValueError):
        return False
    is_local = any(address is not None and address.startswith(LOOPBACK_PREFIX) for address in addresses)
    return not is_local and len(set(addresses)) == len(addresses)


def _needs_device_addresses(table: RankTableDocument) -> bool:
    """Whether cards talk over their network ports: not within one server, nor within one super pod over its bus."""
    is_one_super_pod = table.version == SUPER_POD_VERSION and len(table.super_pod_list or ()) == 1
    return len(_servers(table)) > 1 and not is_one_super_pod


def _address_fault(address: str) -> str | None:
    """What is wrong with an address of a card."""
    if not _is_address(address):
        return f"{address!r} is no IP address"
    return f"{address} is for virtual devices only" if address.startswith(LOOPBACK_PREFIX) else None


def _super_pods(table: RankTableDocument) -> Iterator[str]:
    """Every server in one super pod, and super pods with names of their own."""
    pods = _listed_super_pods(table)
    if any(not pod.super_pod_id for pod in pods):
        yield "a super pod has no super_pod_id"
    for identity in _repeated([pod.super_pod_id for pod in pods]):
        yield f"super_pod_id {identity} is that of two super pods"
    listed = Counter(reference.server_id for pod in pods for reference in pod.server_list)
    servers = [server.server_id for server in _servers(table)] if pods else []
    for identity in servers:
        if listed[identity] != 1:
            yield f"server {identity} is {listed[identity]} times in super_pod_list, must be once"
    for identity in sorted(listed.keys() - set(servers)):
        yield f"server {identity} of super_pod_list is not in server_list"


def _super_devices(table: RankTableDocument) -> Iterator[str]:
    """A number for each card of a super pod, of its own."""
    servers = {server.server_id: server.device for server in _servers(table)}
    for pod in _listed_super_pods(table):
        devices = [device for reference in pod.server_list for device in servers.get(reference.server_id, ())]
        for device in devices:
            if not _is_number(device.super_device_id or ""):
                yield f"rank {device.rank_id}: super_device_id is {device.super_device_id!r}, must be a number from 0"
        for identity in _repeated([device.super_device_id or "" for device in devices]):
            if _is_number(identity):
                yield f"super pod {pod.super_pod_id}: super_device_id {identity} is that of two devices"


_RULES: tuple[Callable[[RankTableDocument], Iterator[str]], ...] = (
    _version,
    _server_count,
    _server_ids,
    _host_addresses,
    _device_ids,
    _ranks,
    _device_addresses,
    _super_pods,
    _super_devices,
)


def _high_device_ids(table: RankTableDocument, highest: int) -> Iterator[str]:
    """No card beyond those that a server with such chips has."""
    for device in _devices(table):
        if _is_number(device.device_id) and int(device.device_id) > highest:
            yield f"rank {device.rank_id}: device_id {device.device_id} is above {highest}, the highest of its chip"


def _uneven_servers(table: RankTableDocument) -> Iterator[str]:
    """As many cards on each server as on the others: only 910B and A3 may differ (hcomm, `CheckDeviceNumValid`)."""
    first, *others = _servers(table) or [Server()]
    for server in others:
        if len(server.device) != len(first.device):
            yield (
                f"servers {first.server_id} and {server.server_id} have {len(first.device)} and {len(server.device)} "
                "cards of the job, must be as many on all servers with a 910A: keep pods apart by workers.template"
            )
            return


def _odd_rings(table: RankTableDocument) -> Iterator[str]:
    """As many cards on each server as its rings can join."""
    for server in _servers(table):
        if (count := len(server.device)) not in SIZES_OF_RINGS:
            yield f"server {server.server_id} has {count} cards of the job, must be 1, 2, 4 or 8 on a 910A"


def _servers(table: RankTableDocument) -> list[Server]:
    """All servers."""
    return table.server_list or []


def _devices(table: RankTableDocument) -> Iterator[RankedDevice]:
    """All cards."""
    return (device for server in _servers(table) for device in server.device)


def _listed_super_pods(table: RankTableDocument) -> list[SuperPod]:
    """The super pods, which only version 1.2 is asked for."""
    return (table.super_pod_list or []) if table.version == SUPER_POD_VERSION else []


def _repeated(texts: Sequence[str]) -> list[str]:
    """What comes more than once."""
    if len(set(texts)) == len(texts):
        return []  # as a rule; to count takes several times as long
    return [text for text, count in Counter(texts).items() if count > 1]


@lru_cache(maxsize=1024)
def _is_number(text: str) -> bool:
    """Whether HCCL reads a text as an unsigned number of 32 bits."""
    return text.isascii() and text.isdecimal() and len(text) <= DIGITS and int(text) <= LARGEST_NUMBER


def _is_address(text: str) -> bool:
    """Whether a text is an IP address; ten times as fast as `ipaddress`, which 16,384 cards would feel."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True
