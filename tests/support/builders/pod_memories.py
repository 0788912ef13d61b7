"""The memories of a gang's pods, two pods of two ranks, with states in them as the code of ranks leaves them."""

import itertools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import numpy as np

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunConfig
from arcface_faces import checkpoint
from arcface_trainer.checkpoint.pod_memory import PodMemory
from arcface_trainer.checkpoint.state import Snapshot
from arcface_trainer.distributed.collectives import World
from arcface_trainer.pod.launches import Launches
from arcface_trainer.pod.mirror import Mirror
from arcface_trainer.pod.peers import Peers
from arcface_trainer.pod.rendezvous import MeetingPoint
from arcface_trainer.pod.state_server import serve_states
from support.builders.saved_states import CLASSES, EMBEDDING, PLAN
from support.processes.trainings import write_run_config

PODS, PER_POD = 2, 2
RANKS = PODS * PER_POD
_NETWORKS = itertools.count()


@dataclass(frozen=True)
class MadePod:
    """One of the gang: what its launcher has."""

    launches: Launches
    folder: Path
    config: RunConfig
    ended: Event = field(default_factory=Event)

    @property
    def rank(self) -> int:
        return self.launches.identity.rank

    @property
    def peers(self) -> Peers:
        return Peers(self.config, self.launches, self.folder)

    def mirror(self) -> Mirror:
        return Mirror(self.peers, self.ended.is_set)

    def keep(self, step: int, course: float = 1.0) -> None:
        """Have its ranks leave a state; of another course of the training all numbers are others."""
        for rank in range(self.rank, self.rank + PER_POD):
            plan = replace(PLAN, world_size=RANKS)
            memory = PodMemory(self.folder, plan, World(RANKS, rank), PER_POD)
            memory.write(Snapshot(step, head_of(rank, step, course), common(step, course) if rank == self.rank else {}))

    def state(self, rank: int, step: int) -> Path:
        """Where an own rank's part of a state lies."""
        return self.folder / f"rank-{rank}" / checkpoint.folder_name(step)

    def copy(self, owner: int, rank: int, step: int) -> Path:
        """Where a copy of another pod's lies."""
        return self.folder / f"copies-of-{owner}" / checkpoint.folder_name(step) / f"rank-{rank}"

    def copies(self) -> list[str]:
        """Names of the steps that it keeps of the other pod."""
        return sorted(path.name for path in self.folder.glob("copies-of-*/step-*"))


def head_of(rank: int, step: int, course: float = 1.0) -> checkpoint.Tensors:
    size = checkpoint.class_range(CLASSES, RANKS, rank).size
    return {
        "centers": np.full((size, EMBEDDING), 100 * rank + step + course / 8, np.float32),
        "momentum": np.full((size, EMBEDDING), course, np.float32),
    }


def common(step: int, course: float = 1.0) -> dict[str, checkpoint.Tensors]:
    weights = {"stem.weight": np.full((2, 3), step + course / 8, np.float32)}
    return {checkpoint.BACKBONE_FILE: weights, checkpoint.MOMENTUM_FILE: weights}


def network() -> str:
    """A loopback network that no other test has: all launchers have one and the same port."""
    number = next(_NETWORKS)
    return f"127.{64 + os.getpid() % 128}.{number % 250}"


def made_pod(folder: Path, rank: int, address: str, first: str, **fields) -> MadePod:
    """A pod whose launcher listens.

    Args:
        folder: of the test; pods share the volume in it.
        rank: first one of the pod.
        address: its own.
        first: that of pod 0.
        fields: of its identity, and `mirror` of its configuration.
    """
    mirror = {"mirrorMebibytes": fields.pop("mirror")} if "mirror" in fields else {}
    config = write_run_config(
        folder / "run.json",
        folder / "images",
        folder / "volume",
        ranks={"worldSize": RANKS, "perPod": PER_POD, "accelerator": "cpu", "rendezvous": "dynamic"},
        checkpoint={"directory": str(folder / "volume"), "everySteps": 100, "keepLast": 2, **mirror},
    )
    place = {"world_size": RANKS, "attempt": 3, "job_uid": "u", "address": address}
    identity = RankIdentity(rank=rank, **{**place, **fields})
    memory = folder / f"memory-{address}"
    memory.mkdir(exist_ok=True)
    launches = Launches(identity, None, None if rank == 0 else MeetingPoint(first), serve_states(address))
    assert launches.server is not None
    return MadePod(launches, memory, RunConfig.read(config))
