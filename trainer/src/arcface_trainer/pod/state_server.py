"""What a launcher shows the other launchers of its gang: where they are, and the states in its pod's memory.

    POST /pods                               an `Address`; the answer, `Addresses`, has those that have been told so far
    GET  /states/POD/OWNER                   `States` of the pod OWNER that the pod POD has, its own or copies
    GET  /states/POD/OWNER/RANK/STEP/FILE    a file of one of them

Pods are named by their first ranks. These are weights: whoever asks signs the path (`gang_key`), and what is no file of
a state is never looked for. Nobody is answered before the pod has the key.
"""

import hashlib
import ipaddress
import logging
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from threading import Thread

from pydantic import Field, ValidationError, field_validator

from arcface_api.bounded_server import BoundedRequest, BoundedThreads
from arcface_api.contract.pod_environment import LAUNCHER_PORT
from arcface_api.model import Model
from arcface_trainer.pod.gang_key import GangKey

LOG = logging.getLogger(__name__)
SIGNATURE = "X-Arcface-Signature"
MANIFEST = "manifest.json"
PATH = re.compile(
    r"/states/(?P<pod>[0-9]{1,6})/(?P<owner>[0-9]{1,6})"
    r"(/(?P<rank>[0-9]{1,6})/(?P<step>step-[0-9]{8,18})/(?P<file>manifest\.json|[a-z0-9-]{1,64}\.safetensors))?"
)


class Address(Model):
    """Where a pod's launcher is."""

    pod: int = Field(ge=0)
    """First rank of the pod."""
    address: str
    """Its IP address."""
    launch: int = Field(default=0, ge=0)
    """At which it said so."""

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str) -> str:
        """ValueError for a name, which would be looked up, and for a scope, which no pod has."""
        if "%" in address:
            raise ValueError("must have no scope")
        return str(ipaddress.ip_address(address))


class Addresses(Model):
    """Where the pods of a gang are, as far as they have said it."""

    addresses: list[Address]
    """One for each."""

    def of(self, pod: int) -> str | None:
        """A pod's address."""
        return next((each.address for each in self.addresses if each.pod == pod), None)


class State(Model):
    """A rank's part of a state."""

    rank: int = Field(ge=0)
    """The rank."""
    step: int = Field(ge=0)
    """Updates before it."""
    manifest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of its manifest, which has those of its files."""


class States(Model):
    """What a pod has of a pod's states."""

    states: list[State]
    """Of all ranks, in no order."""

    def of_step(self, step: int) -> dict[int, str]:
        """Manifests of a state by rank."""
        return {state.rank: state.manifest for state in self.states if state.step == step}

    def whole_steps(self, ranks: range) -> list[int]:
        """Updates before each state that is there of all these ranks; newest first."""
        steps = {state.step for state in self.states}
        return sorted((step for step in steps if set(ranks) <= self.of_step(step).keys()), reverse=True)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The states in a pod's memory: its own, as its ranks leave them, and copies of another pod's, a folder a step."""

    folder: Path
    """In shared memory."""
    pod: int
    """First rank."""
    key: GangKey
    addresses: dict[int, Address] = field(default_factory=dict)
    """Of pods; that of pod 0 is told by all."""

    @classmethod
    def of(cls, folder: Path, pod: int, directory: Path, job_uid: str | None, attempt: int) -> "Shelf":
        """That of a pod, with its gang's key.

        Raises:
            OSError, ArcFaceError: where the volume has none and takes none.
        """
        return cls(folder, pod, GangKey.of(directory, job_uid, attempt))

    def note(self, said: Address) -> Addresses:
        """Know where a pod is; where all are. One that was cut off may go on to tell where it was."""
        known = self.addresses.get(said.pod)
        if known is None or said.launch >= known.launch:
            self.addresses[said.pod] = said
        return Addresses(addresses=list(self.addresses.values()))

    def path(self, owner: int, rank: int, step_folder: str) -> Path:
        """Where a rank's part of a state lies."""
        if owner == self.pod:
            return self.folder / f"rank-{rank}" / step_folder
        return self.copies(owner) / step_folder / f"rank-{rank}"

    def copies(self, owner: int) -> Path:
        """Where states of another pod lie."""
        return self.folder / f"copies-of-{owner}"

    def states(self, owner: int) -> States:
        """What is there of a pod; what is being written has another name."""
        is_own = owner == self.pod
        folder, pattern = (self.folder, "rank-*/step-*") if is_own else (self.copies(owner), "step-*/rank-*")
        found = []
        for manifest in folder.glob(f"{pattern}/{MANIFEST}"):
            numbers = dict(name.split("-") for name in manifest.parts[-3:-1])
            try:
                sha256 = hashlib.sha256(manifest.read_bytes()).hexdigest()
            except OSError:
                continue  # it has just been removed
            found.append(State(rank=int(numbers["rank"]), step=int(numbers["step"]), manifest=sha256))
        return States(states=found)


class StateServer(BoundedThreads, TCPServer):
    """A launcher's port. No HTTPServer, which has its address looked up: for seconds where no name server answers."""

    allow_reuse_address = True
    request_queue_size = 1024
    """All pods of a gang may ask that of pod 0 at once."""
    shelf: Shelf | None = None
    """What is shown."""

    def begin(self) -> None:
        """Answer in daemon threads."""
        Thread(target=self.serve_forever, daemon=True, name="launcher").start()


class StateHandler(BoundedRequest, BaseHTTPRequestHandler):
    """Answers launchers of the gang."""

    server: StateServer

    def do_GET(self) -> None:
        """Another launcher wants a state."""
        shelf, asked = self.server.shelf, PATH.fullmatch(self.path)
        if shelf is None or asked is None or not self._is_signed(shelf.key):
            return self.answer(404, b"")
        if int(asked["pod"]) != shelf.pod:
            return self.answer(409, b"")
        if asked["file"] is None:
            return self._answer_signed(shelf.key, shelf.states(int(asked["owner"])))
        return self._send(shelf.path(int(asked["owner"]), int(asked["rank"]), asked["step"]) / asked["file"])

    def do_POST(self) -> None:
        """Another launcher says where it is."""
        shelf, length = self.server.shelf, self.headers.get("Content-Length", "")
        if shelf is None or self.path != "/pods" or not length.isdecimal() or len(length) > 3:
            return self.answer(404, b"")
        content = self.rfile.read(int(length))
        if not self._is_signed(shelf.key, content):
            return self.answer(404, b"")
        try:
            said = Address.model_validate_json(content, extra="ignore")
        except ValidationError:
            return self.answer(400, b"")
        return self._answer_signed(shelf.key, shelf.note(said))

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _answer_signed(self, key: GangKey, answer: Model) -> None:
        body = answer.to_json().encode()
        self.answer(200, body, **{SIGNATURE: key.sign(b"answer", self.path.encode(), body)})

    def _is_signed(self, key: GangKey, content: bytes = b"") -> bool:
        return key.has_signed(self.headers.get(SIGNATURE), self.command.encode(), self.path.encode(), content)

    def _send(self, path: Path) -> None:
        """A file; it is whole although its rank removes it meanwhile."""
        try:
            file, size = path.open("rb"), path.stat().st_size
        except OSError:
            return self.answer(404, b"")
        with file:
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.connection.sendfile(file)
        return None

    def log_message(self, *_: object) -> None:
        """A line for each question would drown the log."""


def serve_states(address: str, port: int = LAUNCHER_PORT) -> StateServer | None:
    """The port of a launcher; None where it cannot be had: then its pod keeps no copies, and none are kept of it."""
    try:
        server = StateServer((address, port), StateHandler)
    except OSError as error:
        LOG.warning("no copies of states address=%s port=%d reason=%s", address, port, error.strerror)
        return None
    server.begin()
    return server
