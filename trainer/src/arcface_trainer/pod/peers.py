"""The other pods of the gang: which one keeps which one's class centres, and where their launchers are.

Pairs keep each other's, and three in a ring where the number of pods is odd: what GEMINI (Wang et al., SOSP 2023) calls
mixed placement. When two of n pods are lost at once, pairs lose a state in one of n - 1 cases; a ring of all pods would
in two.

Each launcher says to that of pod 0 where it is, and is told where the others are: that holds in the nodes' network,
without a rank table, and for a pod that takes the place of another.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from arcface_api.contract.run_config import RunConfig
from arcface_faces.checkpoint import CheckpointManifest
from arcface_trainer.pod.launches import Launches
from arcface_trainer.pod.state_client import Peer, StatePath
from arcface_trainer.pod.state_server import Address, Addresses, Shelf, States

MEETING_SECONDS = 10.0
"""For pod 0 to tell where the others are."""


def kept_by(pod: int, pods: int) -> int:
    """The pod whose class centres a pod keeps; of two pods or more."""
    return _beside(pod, pods, 1)


def keeper_of(pod: int, pods: int) -> int:
    """The pod that keeps a pod's class centres; of two pods or more."""
    return _beside(pod, pods, -1)


def _beside(pod: int, pods: int, distance: int) -> int:
    """The next pod in a group, or the one before."""
    ring = pods - 3 if pods % 2 else pods
    first, size = (ring, 3) if pod >= ring else (pod - pod % 2, 2)
    return first + (pod - first + distance) % size


@dataclass(frozen=True)
class Peers:
    """The gang as a launcher sees it, which has a port to be asked at."""

    config: RunConfig
    launches: Launches
    folder: Path
    """In shared memory, of this pod's states."""

    @property
    def owner(self) -> int:
        """First rank of the pod whose class centres this one keeps."""
        return self.config.ranks.per_pod * kept_by(self._pod, self._pods)

    @property
    def keeper(self) -> int:
        """First rank of the pod that keeps this one's."""
        return self.config.ranks.per_pod * keeper_of(self._pod, self._pods)

    def ranks_of(self, pod: int) -> range:
        """Ranks of a pod."""
        return range(pod, pod + self.config.ranks.per_pod)

    def shelf(self) -> Shelf:
        """What this pod shows.

        Raises:
            OSError, ArcFaceError: where the volume has no key and takes none.
        """
        server, identity = self.launches.server, self.launches.identity
        assert server is not None  # noqa: S101 - a pod without a port has no peers
        if server.shelf is None:
            directory = Path(self.config.checkpoint.directory)
            server.shelf = Shelf.of(self.folder, identity.rank, directory, identity.job_uid, identity.attempt or 0)
        return server.shelf

    def addresses(self, shelf: Shelf) -> Addresses:
        """Where the pods are that have said so, which this one does.

        Raises:
            OSError, HTTPException, ArcFaceError: where pod 0 does not answer.
        """
        identity, meeting = self.launches.identity, self.launches.meeting
        own = Address(pod=shelf.pod, address=identity.address, launch=identity.launch)
        if shelf.pod == 0 or meeting is None:
            return shelf.note(own)
        return Peer(meeting.scheduler, shelf.key, time.monotonic() + MEETING_SECONDS).announce(own)

    def take_manifests(
        self, peer: Peer, offered: States, first: StatePath, folder: Path
    ) -> dict[int, CheckpointManifest]:
        """Take over the manifests of a pod's ranks, each into a folder of its own in `folder`; by rank.

        Raises:
            OSError, HTTPException, ArcFaceError: where one is not there or not what was announced.
        """
        found = {}
        announced = offered.of_step(first.step)
        for rank in self.ranks_of(first.owner):
            own = folder / f"rank-{rank}"
            own.mkdir(parents=True)
            found[rank] = peer.manifest(StatePath(first.pod, first.owner, rank, first.step), announced[rank], own)
        return found

    @property
    def _pod(self) -> int:
        return self.launches.identity.rank // self.config.ranks.per_pod

    @property
    def _pods(self) -> int:
        return self.config.ranks.world_size // self.config.ranks.per_pod
