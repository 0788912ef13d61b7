"""Who this process is; the only module that reads the rank variables of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from arcface_api.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """What the pod's environment says; a process without these variables is alone."""

    first_rank: int
    world_size: int
    scheduler_host: str
    scheduler_port: int
    address: str
    """Where metrics are served: the pod's own address, or loopback outside of pods."""
    scheduler_file: Path | None = None
    """File in which the operator writes the scheduler's address once it is known."""
    rank_table: Path | None = None
    """hccl.json, where the ranks meet by it."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read MS_NODE_ID, MS_WORKER_NUM, MS_SCHED_HOST, MS_SCHED_PORT, POD_IP and the files that others write."""
        return cls(
            first_rank=_number(environment, "MS_NODE_ID", 0),
            world_size=_number(environment, "MS_WORKER_NUM", 1),
            scheduler_host=environment.get("MS_SCHED_HOST", "127.0.0.1"),
            scheduler_port=_number(environment, "MS_SCHED_PORT", 8118),
            address=environment.get("POD_IP") or "127.0.0.1",
            scheduler_file=_path(environment, "ARCFACE_SCHEDULER_FILE"),
            rank_table=_path(environment, "RANK_TABLE_FILE"),
        )


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    text = environment.get(name)
    return Path(text) if text else None


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit():
        raise InvalidInput(f"{name}={text!r} in the environment is not a number: the operator sets it")
    return int(text)
