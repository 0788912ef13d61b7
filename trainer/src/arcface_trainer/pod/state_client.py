"""Asking another launcher of the gang for states (`state_server`): nothing is taken that was not announced.

What is there is told in a signed answer with the hashes of manifests, and a manifest has names, sizes and hashes of its
files. All are checked while they come in; nothing is parsed but signed lists and manifests.
"""

import hashlib
import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arcface_api.contract.pod_environment import LAUNCHER_PORT
from arcface_api.errors import ArcFaceError
from arcface_faces import checkpoint
from arcface_trainer.pod.gang_key import GangKey
from arcface_trainer.pod.state_server import MANIFEST, SIGNATURE, Address, Addresses, States

ANSWER_SECONDS = 5.0
"""Patience for one more byte."""
LONGEST_LIST = 1 << 20
LONGEST_MANIFEST = 1 << 22
BLOCK = 1 << 20
FAULTS = (OSError, http.client.HTTPException, ArcFaceError)
"""What asking another launcher may raise."""


def at_once(_size: int) -> None:
    """The pace of whoever has nothing to wait for."""


@dataclass(frozen=True, slots=True)
class StatePath:
    """Where a launcher has a rank's part of a state."""

    pod: int
    """First rank of the launcher's pod."""
    owner: int
    """First rank of the pod whose state it is."""
    rank: int
    step: int

    def file(self, name: str) -> str:
        """Path of a file."""
        return f"/states/{self.pod}/{self.owner}/{self.rank}/{checkpoint.folder_name(self.step)}/{name}"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another launcher of the gang."""

    address: str
    key: GangKey
    deadline: float
    """By the monotonic clock; after it nothing is read any more."""
    port: int = LAUNCHER_PORT

    def announce(self, own: Address) -> Addresses:
        """Say to pod 0 where the own pod is; where the others are."""
        return Addresses.from_ours(self._signed("POST", "/pods", own.to_json().encode()), self.address)

    def states(self, pod: int, owner: int) -> States:
        """What the pod has of another one's states, or of its own."""
        return States.from_ours(self._signed("GET", f"/states/{pod}/{owner}"), self.address)

    def manifest(self, path: StatePath, sha256: str, folder: Path) -> checkpoint.CheckpointManifest:
        """Take a manifest over into a folder; ArcFaceError where it is not the one that was announced."""
        with self._asked("GET", path.file(MANIFEST)) as response:
            content = self._bounded(response, LONGEST_MANIFEST)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise self._refused("a manifest is not the one that was announced")
        (folder / MANIFEST).write_bytes(content)
        manifest = checkpoint.parse_manifest(folder)
        if manifest.step != path.step:
            raise self._refused(f"the state of step {path.step} is of step {manifest.step}")
        return manifest

    def fetch(
        self, path: StatePath, entry: checkpoint.FileEntry, folder: Path, keep_pace: Callable[[int], None] = at_once
    ) -> None:
        """Take a file over into a folder; ArcFaceError where it is not the one of the manifest."""
        digest, size = hashlib.sha256(), 0
        with self._asked("GET", path.file(entry.name)) as response, (folder / entry.name).open("xb") as file:
            while block := self._block(response, min(BLOCK, entry.size - size)):
                size += len(block)
                file.write(block)
                digest.update(block)
                keep_pace(len(block))
        if (size, digest.hexdigest()) != (entry.size, entry.sha256):
            raise self._refused(f"{entry.name} is not what its manifest says")

    def _signed(self, method: str, path: str, content: bytes = b"") -> bytes:
        """An answer of a launcher of the gang."""
        with self._asked(method, path, content) as response:
            answer = self._bounded(response, LONGEST_LIST)
            if not self.key.has_signed(response.headers.get(SIGNATURE), b"answer", path.encode(), answer):
                raise self._refused("the answer is not of a launcher of this gang")
        return answer

    def _asked(self, method: str, path: str, content: bytes = b"") -> http.client.HTTPResponse:
        """An answer whose body has not been read; closing it ends the connection."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=ANSWER_SECONDS)
        signature = self.key.sign(method.encode(), path.encode(), content)
        try:
            connection.request(method, path, content or None, {SIGNATURE: signature, "Connection": "close"})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        if response.status != http.client.OK:
            response.close()
            raise self._refused(f"{method} {path} is answered by {response.status}")
        return response

    def _bounded(self, response: http.client.HTTPResponse, longest: int) -> bytes:
        content = b""
        while block := self._block(response, longest + 1 - len(content)):
            content += block
        if len(content) > longest:
            raise self._refused("the answer is too long")
        return content

    def _block(self, response: http.client.HTTPResponse, size: int) -> bytes:
        """The next bytes, as soon as there are some; none at the end, and none where none are wanted."""
        if time.monotonic() > self.deadline:
            raise self._refused("the answer takes too long")
        return response.read1(size) if size > 0 else b""

    def _refused(self, reason: str) -> ArcFaceError:
        return ArcFaceError(f"the launcher at {self.address} has no state for this pod: {reason}")
