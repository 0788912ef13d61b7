"""Copies of another pod's class centres in the memory of this one, so that a lost pod costs no more than a lost rank.

A pod copies the heads of the pod that it is to keep (`peers`) as soon as its ranks have left a state in their memory:
from memory to memory, between launchers, so that no rank knows of it. What is alike on all ranks is in every pod
anyway. A pod that takes the place of a lost one fetches both from its keeper: its ranks find them as if they had left
them there themselves, and agree with all others on the step to go on from.

A copy is good for a state whose common part is the keeper's own, by its hashes, and for no other: a training that went
back makes another state of the same step. It is published by one rename, if the owner still had the same manifests at
the end as at the beginning. As many steps are kept as the owner has, within a budget of memory, and a copy comes in
slowly: a burst would take the link from the training, whose traffic GEMINI (SOSP 2023) measures and steps aside for,
which needs a hand in the collectives.
"""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from arcface_api.errors import ArcFaceError, printable
from arcface_faces import checkpoint
from arcface_trainer.pod.peers import Peers
from arcface_trainer.pod.state_client import FAULTS, Peer, StatePath
from arcface_trainer.pod.state_server import Shelf, States
from arcface_trainer.shared_memory import free_bytes, held_bytes

LOG = logging.getLogger(__name__)
COPIES = 2
"""Of a pod at a time, as many as it has itself."""
SHARE = 0.25
"""Of the memory that is free while the training runs, where the job names no budget."""
FETCHED_SHARE = 0.5
"""Of the memory that is free before it, as for what ranks keep there."""
MEBIBYTE = 1 << 20
SPREAD_SECONDS = 4.0
"""Over which a copy comes in: the next one is due ten seconds after the last."""
LOOK_SECONDS = 60.0
"""For a copy to come in."""
AGAIN_SECONDS = 60.0
"""Between two tries at a state, which may never fit or come in: it would take the link from the training for ever."""
POLL_SECONDS = 0.1
HIDDEN = ".copy"
FETCHED = ".fetched-"


@dataclass
class Mirror:
    """The copies that a pod keeps."""

    peers: Peers
    is_over: Callable[[], bool]
    """Whether the pod ends."""
    _address: str | None = None
    """Of the pod whose states are kept."""
    _launch: int | None = None
    """At which the own address was told."""
    _said: set[str] = field(default_factory=set)
    _tried: dict[int, str] = field(default_factory=dict)
    """Manifests, by rank, of the state that was tried last."""
    _tried_at: float = 0.0
    """By the monotonic clock."""

    def look(self) -> None:
        """Copy the newest state of the other pod unless it is there; what goes wrong is told in the log."""
        try:
            shelf = self.peers.shelf()
            self._remove_useless(shelf)
            if (peer := self._owner(shelf)) is not None:
                self._copy_newest(shelf, peer)
        except FAULTS as error:
            self._address = None
            self._say(f"the states of rank {self.peers.owner} are not copied: {error}")

    def _owner(self, shelf: Shelf) -> Peer | None:
        """The launcher of the pod whose states are kept; None while it has not said where it is."""
        launch = self.peers.launches.identity.launch
        if self._address is None or self._launch != launch:
            self._address, self._launch = self.peers.addresses(shelf).of(self.peers.owner), launch
        return None if self._address is None else Peer(self._address, shelf.key, time.monotonic() + LOOK_SECONDS)

    def _copy_newest(self, shelf: Shelf, peer: Peer) -> None:
        owner = self.peers.owner
        offered = peer.states(owner, owner)
        step = next(iter(offered.whole_steps(self.peers.ranks_of(owner))), None)
        if step is None or shelf.states(owner).of_step(step) == (announced := offered.of_step(step)):
            return
        own, now = shelf.path(shelf.pod, shelf.pod, checkpoint.folder_name(step)), time.monotonic()
        is_left = announced == self._tried and now < self._tried_at + AGAIN_SECONDS
        if is_left or not own.is_dir():  # the own ranks are about to have it
            return
        self._tried, self._tried_at = announced, now
        try:
            self._copy(shelf, peer, offered, checkpoint.read_manifest(own))
        finally:
            shutil.rmtree(shelf.copies(owner) / HIDDEN, ignore_errors=True)

    def _copy(self, shelf: Shelf, peer: Peer, offered: States, own: checkpoint.CheckpointManifest) -> None:
        """Copy the state that goes with an own one."""
        owner, step = self.peers.owner, own.step
        hidden = shelf.copies(owner) / HIDDEN
        shutil.rmtree(hidden, ignore_errors=True)
        manifests = self.peers.take_manifests(peer, offered, StatePath(owner, owner, owner, step), hidden)
        if manifests[owner].common_part != own.common_part:
            raise ArcFaceError(f"what they have of step {step} is of another course of the training")
        heads = [(rank, entry) for rank, manifest in manifests.items() for entry in manifest.heads]
        size = sum(entry.size for _, entry in heads)
        if not self._has_room(shelf, COPIES * size):
            return
        self._remove_useless(shelf)
        final = hidden.with_name(checkpoint.folder_name(step))
        shutil.rmtree(final, ignore_errors=True)
        pace = _Pace(SPREAD_SECONDS / max(1, size), self.is_over)
        for rank, entry in heads:
            peer.fetch(StatePath(owner, owner, rank, step), entry, hidden / f"rank-{rank}", pace.keep)
        if peer.states(owner, owner).of_step(step) != offered.of_step(step):
            raise ArcFaceError(f"what they have of step {step} has changed meanwhile")
        hidden.rename(final)

    def _has_room(self, shelf: Shelf, needed: int) -> bool:
        """Whether copies may be kept."""
        free = free_bytes(self.peers.folder) + held_bytes(shelf.copies(self.peers.owner))
        budget = self.peers.config.checkpoint.mirror_mebibytes
        room = int(SHARE * free) if budget is None else min(free, budget * MEBIBYTE)
        if needed > room:
            self._say(
                f"the states of rank {self.peers.owner} are not copied: there are {room // MEBIBYTE} MiB for copies, "
                f"and {needed // MEBIBYTE + 1} would take"
            )
        return needed <= room

    def _remove_useless(self, shelf: Shelf) -> None:
        """Remove copies of states that this pod has no part of any more: what all ranks have alike went with that."""
        for folder in checkpoint.checkpoints(shelf.copies(self.peers.owner)):
            if not shelf.path(shelf.pod, shelf.pod, folder.name).is_dir():
                shutil.rmtree(folder)

    def _say(self, message: str) -> None:
        """Once, whatever comes again and again."""
        if message not in self._said:
            self._said.add(message)
            LOG.warning("%s", printable(message))


@dataclass
class _Pace:
    """Has a copy come in no faster than it should."""

    seconds_per_byte: float
    is_over: Callable[[], bool]
    _due: float = field(default_factory=time.monotonic)

    def keep(self, size: int) -> None:
        """Wait after so many bytes."""
        self._due += size * self.seconds_per_byte
        while (left := self._due - time.monotonic()) > 0:
            if self.is_over():
                raise ArcFaceError("this pod ends")
            time.sleep(min(left, POLL_SECONDS))


@dataclass(frozen=True)
class Fetched:
    """A rank's part of a state that has come in and is checked."""

    folder: Path
    final: Path

    def publish(self) -> None:
        """Let ranks find it."""
        self.final.parent.mkdir(exist_ok=True)
        self.folder.rename(self.final)


def fetch_states(peers: Peers, deadline: float) -> list[Fetched]:
    """What the keeper has of this pod's states, each whole or not at all.

    Args:
        peers: of this pod.
        deadline: up to which is waited for the keeper, and for its answers, by the monotonic clock.

    Raises:
        OSError, HTTPException, ArcFaceError: where there is nothing to be had.
    """
    shelf, peer = _keeper(peers, deadline)
    copies = peer.states(peers.keeper, shelf.pod)
    found: list[Fetched] = []
    for step in copies.whole_steps(peers.ranks_of(shelf.pod)):
        try:
            found += _fetch(peers, shelf, peer, copies, step)
        except FAULTS as error:
            LOG.warning("not fetched step=%d reason=%s", step, printable(str(error)))
    return found


def _keeper(peers: Peers, deadline: float) -> tuple[Shelf, Peer]:
    """The launcher of the pod that keeps the states of this one, as soon as it has said where it is."""
    shelf = peers.shelf()
    while (address := peers.addresses(shelf).of(peers.keeper)) is None:
        if time.monotonic() > deadline:
            raise ArcFaceError(f"the pod of rank {peers.keeper} has not said where it is")
        time.sleep(POLL_SECONDS)
    return shelf, Peer(address, shelf.key, deadline)


def _fetch(peers: Peers, shelf: Shelf, peer: Peer, copies: States, step: int) -> list[Fetched]:
    """Fetch one state, if the keeper is at the very one that it was made with."""
    pod, keeper = shelf.pod, peers.keeper
    hidden = peers.folder / f"{FETCHED}{step}"
    shutil.rmtree(hidden, ignore_errors=True)
    manifests = peers.take_manifests(peer, copies, StatePath(keeper, pod, pod, step), hidden)
    common, sha256 = StatePath(keeper, keeper, keeper, step), peer.states(keeper, keeper).of_step(step).get(keeper)
    (hidden / "keeper").mkdir()
    of_keeper = None if sha256 is None else peer.manifest(common, sha256, hidden / "keeper")
    if of_keeper is None or of_keeper.common_part != manifests[pod].common_part:
        raise ArcFaceError(f"the pod of rank {keeper} is at another state of that step, or at none")
    size = sum(entry.size for manifest in manifests.values() for entry in manifest.files)
    if size > FETCHED_SHARE * free_bytes(peers.folder):
        raise ArcFaceError(f"it has {size} bytes, for which there is no room in memory")
    for rank, manifest in manifests.items():
        for entry in manifest.files:
            path = common if entry.first_class is None else StatePath(keeper, pod, rank, step)
            peer.fetch(path, entry, hidden / f"rank-{rank}")
    name = checkpoint.folder_name(step)
    return [Fetched(hidden / f"rank-{rank}", shelf.path(pod, rank, name)) for rank in manifests]
