"""Waiting for the other pods: for the address that the ranks meet at, or for the rank table."""

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.rank_table import RankTableDocument
from arcface_api.contract.rank_table_rules import check_rank_table
from arcface_api.errors import ArcFaceError

LOG = logging.getLogger(__name__)
WAIT_SECONDS = 1800.0
"""Beyond every deadline that an operator would set for a start."""
POLL_SECONDS = 0.5

Value = TypeVar("Value")


def meet(identity: RankIdentity, world_size: int) -> str:
    """Wait until the other pods are known; returns the scheduler's address, which a rank table makes superfluous."""
    if identity.rank_table is not None:
        await_rank_table(identity.rank_table, identity)
        return identity.scheduler_host
    return scheduler_address(identity) if world_size > 1 else identity.scheduler_host


def scheduler_address(identity: RankIdentity) -> str:
    """IP address of the scheduler, which runs in rank 0's pod; MindSpore takes no names.

    Where the operator writes it into a file, no name has to be resolved: a cluster's DNS may still answer with the
    address that a pod of this name had before a restart.
    """
    if identity.rank == 0 and identity.scheduler_file is not None:
        return identity.address
    if identity.scheduler_file is not None:
        file = identity.scheduler_file
        return wait_for(lambda: _content(file), f"{file} has no address: is the pod of rank 0 running?")
    name = f"MS_SCHED_HOST={identity.scheduler_host}"
    return wait_for(lambda: _resolved(identity), f"{name} has no address: is the pod of rank 0 running?")


def await_rank_table(path: Path, identity: RankIdentity) -> None:
    """Until the table is complete and lists this very pod; a table of the pods before a restart does not.

    Raises:
        InvalidInput: where HCCL would not take the table.
    """
    LOG.info("waiting for the rank table %s", path)
    absent = f"{path} does not list rank {identity.rank} at {identity.address}"
    wait_for(lambda: is_mine(path, identity) or None, f"{absent}: see condition RankTableReady of the job")
    if (table := RankTableDocument.parse(_content(path) or "")) is not None:
        check_rank_table(table, str(path))


def is_mine(path: Path, identity: RankIdentity) -> bool:
    """Whether a table is complete and has this pod's first rank at this pod's address."""
    table = RankTableDocument.parse(_content(path) or "")
    return table is not None and table.has_rank(identity.rank, identity.address)


def _content(path: Path) -> str | None:
    """Text of a file that somebody else writes; None while there is none."""
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def _resolved(identity: RankIdentity) -> str | None:
    """Address of the scheduler's name, None while it has none: rank 0's pod may be scheduled after this one."""
    try:
        found = socket.getaddrinfo(identity.scheduler_host, identity.scheduler_port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return None
    return str(found[0][4][0])


def wait_for(look: Callable[[], Value | None], failure: str, seconds: float = WAIT_SECONDS) -> Value:
    """What `look` finds, as soon as it finds something.

    Raises:
        ArcFaceError: with the given text when it finds nothing in time.
    """
    deadline = time.monotonic() + seconds
    while (value := look()) is None:
        if time.monotonic() > deadline:
            raise ArcFaceError(f"{failure} (waited {seconds:.0f} s)")
        time.sleep(POLL_SECONDS)
    return value
