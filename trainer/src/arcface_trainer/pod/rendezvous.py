"""Waiting for the other pods: for the address that the ranks meet at, and for the rank table where HCCL is given one.

Where a pod was made anew, both must be of that very launch: a kubelet may still show those of the launch before, and
the new pod may have the address of the one before it.

There is no limit here: how long a start may take is the operator's to say, which counts from the moment that all pods
have a place. A pod that waits for its peers is not failing.
"""

import ipaddress
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from arcface_api.contract import launcher_words, pod_environment, rank_table, rank_table_rules
from arcface_api.errors import InvalidInput

LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.5
REMINDER_SECONDS = 60.0

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class MeetingPoint:
    """What the ranks of a pod have to know in order to join the others."""

    scheduler: str
    """Address of MindSpore's scheduler."""
    super_pod: str | None = None
    """Number of the pod's logical super pod, where the rank table has such."""
    launch: int = 0
    """The launch that the pods meet for."""


def meet(
    identity: pod_environment.RankIdentity, called: Callable[[], launcher_words.LaunchCall] = launcher_words.LaunchCall
) -> MeetingPoint | None:
    """Wait until the other pods are known; None for a rank alone.

    The scheduler runs in rank 0's pod, with a rank table and without: no start of MindSpore 2.10 does without one.

    Args:
        identity: of the pod.
        called: the operator's call as it is now.

    Raises:
        InvalidInput: where what the operator wrote has no address, or HCCL would not take the table.
    """
    if identity.world_size == 1:
        return None
    if (path := identity.rank_table) is not None:
        absent = f"{path} does not list rank {identity.rank} at {identity.address}"
        table_is_absent = f"{absent}: see condition RankTableReady of the job"
        return wait_for(lambda: _by_table(path, identity, called()), table_is_absent)
    file = identity.scheduler_file
    if identity.rank != 0 and file is None:
        raise InvalidInput(f"{pod_environment.SCHEDULER_FILE} is not set in the environment: the operator sets it")
    return wait_for(lambda: _by_address(identity, called()), f"{file} has no address: is the pod of rank 0 running?")


def _by_address(identity: pod_environment.RankIdentity, call: launcher_words.LaunchCall) -> MeetingPoint | None:
    """Where the ranks of a launch meet, by the operator's word; None while that is not there."""
    if identity.rank == 0:
        return MeetingPoint(identity.address, launch=call.launch)
    file = identity.scheduler_file
    text = call.scheduler if call.is_anew or file is None else _content(file)
    return None if text is None else MeetingPoint(_address(text, str(file)), launch=call.launch)


def _by_table(
    path: Path, identity: pod_environment.RankIdentity, call: launcher_words.LaunchCall
) -> MeetingPoint | None:
    """Where they meet by the table, once it is complete and lists this very pod; one of before a restart does not."""
    table = rank_table.RankTableDocument.parse(_content(path) or "")
    launch = call.launch if call.is_anew else None
    if table is None or not table.has_rank(identity.rank, identity.address, identity.attempt, launch):
        return None
    rank_table_rules.check_rank_table(table, str(path))
    address = _address(_container_of_rank_0(table) or _own_if_first(identity), str(path))
    return MeetingPoint(address, table.super_pod_of(identity.rank), call.launch)


def _container_of_rank_0(table: rank_table.RankTableDocument) -> str | None:
    """Address of rank 0's pod; None where the table names none."""
    servers = table.server_list or []
    return next((server.container_ip for server in servers if any(one.rank_id == "0" for one in server.device)), None)


def _own_if_first(identity: pod_environment.RankIdentity) -> str:
    """What is known of rank 0's address without the table's word."""
    return identity.address if identity.rank == 0 else ""


def _address(text: str, source: str) -> str:
    """The scheduler's address; MindSpore takes no names, and no pod's has a scope, which Python lets be any text."""
    try:
        return str(ipaddress.ip_address("" if "%" in text else text))
    except ValueError:
        raise InvalidInput(f"{source}: {text!r} for rank 0 is no IP address: the operator writes it") from None


def _content(path: Path) -> str | None:
    """Text of a file that somebody else writes; None while there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def wait_for(look: Callable[[], Value | None], absent: str, reminder_seconds: float = REMINDER_SECONDS) -> Value:
    """What `look` finds, as soon as it finds something; meanwhile the log says what is absent."""
    reminded_at = time.monotonic()
    if (value := look()) is None:
        LOG.info("waiting: %s", absent)
    while value is None:
        time.sleep(POLL_SECONDS)
        value = look()
        if value is None and time.monotonic() - reminded_at >= reminder_seconds:
            LOG.info("still waiting: %s", absent)
            reminded_at = time.monotonic()
    return value
