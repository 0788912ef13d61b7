"""What launchers of pods hear and say at their port, and the operator's word for another launch of their ranks."""

import http.client
import io
import ipaddress
import json
import re
import socket
import time
from collections.abc import Callable, Sequence
from random import Random
from threading import Condition
from typing import Any
from unittest import mock

from arcface_api.contract.launcher_words import GangWord, HeardWord, LaunchCall, PodWord
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import ReportedFailure
from arcface_api.errors import InvalidInput
from arcface_operator.decision.observation import HeardWords
from arcface_trainer.pod import gang_key, launches, rendezvous, state_client, state_server
from fuzz import scratch
from fuzz.mutation import mutate_json, mutate_text
from fuzz.target import Target
from fuzz.targets.contract import is_part
from fuzz.targets.operator import is_taken
from support.builders import views
from support.builders.plans import plan_in

SHELF = state_server.Shelf(scratch.place("states"), 0, gang_key.GangKey(bytes(32)))
"""With a state of one rank."""
OWN = RankIdentity(rank=0, world_size=2, attempt=2, job_uid="u")
FAILURE = ReportedFailure(reason="RankDied", message="rank 1 is gone", rank=1, exit_code=137, log=["last"])
WORD = PodWord(job_uid="u", attempt=2, launch=0, rank=1, failure=FAILURE, step=9)
GANG = GangWord(job_uid="u", attempt=2, serial=1, launch=0, pods=2, failures=[WORD])
HEAD = b"POST /word HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def targets() -> list[Target]:
    """Of launchers."""
    return [
        Target(name="launcher-request", samples=_REQUESTS, read=_answered, agrees=_is_heard, mutate=_mutate_request),
        Target(name="states-answer", samples=_ANSWERS, read=_told, agrees=_is_what_was_told, mutate=_mutate_answer),
        Target(name="gang-word", samples=[GANG.to_json().encode()], read=_decided, agrees=is_taken, mutate=mutate_json),
        Target(name="launch", samples=_CALLS, read=_launch, agrees=_is_that_launch, mutate=mutate_text),
        Target(
            name="scheduler-address", samples=_ADDRESSES, read=_address, agrees=_is_that_address, mutate=mutate_text
        ),
    ]


def _posted(body: bytes) -> bytes:
    return HEAD % len(body) + body


_REQUESTS = [
    _posted(WORD.to_json().encode()),
    _posted(b'{"jobUid":"u","attempt":2,"launch":1,"rank":0}'),
    b"GET /gang?after=0&seconds=20 HTTP/1.1\r\nHost: a\r\n\r\n",
    *(
        b"GET %b HTTP/1.1\r\nX-Arcface-Signature: %b\r\n\r\n" % (path, SHELF.key.sign(b"GET", path, b"").encode())
        for path in (b"/states/0/0", b"/states/0/1", b"/states/0/0/0/step-00000100/manifest.json")
    ),
]


def _mutate_request(random: Random, sample: bytes, others: Sequence[bytes]) -> bytes:
    """Changes of the whole, or of the body with a length that is right."""
    body = sample.partition(b"\r\n\r\n")[2]
    if not body or random.random() < 0.4:
        return mutate_text(random, sample, others)
    return _posted(mutate_json(random, body, others))


class _Connection:
    """What a handler needs of a socket."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)
        self.answer = b""

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO()

    def recv_into(self, buffer: memoryview) -> int:
        return self.data.readinto(buffer)

    def sendall(self, data: bytes) -> None:
        self.answer += data

    def settimeout(self, _seconds: float) -> None:
        pass


class _AtOnce(Condition):
    """Nobody waits for a newer word."""

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:  # noqa: ARG002
        return predicate()


def _answered(data: bytes) -> tuple[launches.Exchange, bytes]:
    exchange = launches.Exchange(OWN, _changed=_AtOnce())
    connection: Any = _Connection(data)
    server: Any = type("Server", (), {"exchange": exchange, "shelf": SHELF})()
    launches._Handler(connection, ("10.0.0.2", 40000), server)
    if b" 200 " not in connection.answer.partition(b"\r\n")[0]:
        raise InvalidInput(f"answered {connection.answer[:13]!r}")
    return exchange, connection.answer.partition(b"\r\n\r\n")[2]


def _is_heard(data: bytes, value: tuple[launches.Exchange, bytes]) -> bool:
    """A word is kept as it was said, of this gang alone, and an answer is one of the two."""
    exchange, answer = value
    if answer.startswith(b'{"states"'):
        path = "/" + data.decode("iso-8859-1").split()[1].lstrip("/")  # as http.server has it (bpo-43223)
        return json.loads(answer) == {"states": []} and SHELF.key.sign(b"GET", path.encode(), b"").encode() in data
    if not exchange._words:
        return json.loads(answer) == json.loads(exchange.listen(0, 0.0).to_json())
    ((rank, word),) = exchange._words.items()
    # As long as its length says, which changes of the head may have made shorter.
    body = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[1]
    told, _ = json.JSONDecoder().raw_decode(body.decode("utf-8", "replace").lstrip())
    is_of_gang = (told["jobUid"], told["attempt"]) == ("u", 2) and rank in {0, 1}
    return (
        is_of_gang and is_part(json.loads(word.to_json()), told) and HeardWord.model_validate_json(answer) is not None
    )


def _signed(body: bytes) -> bytes:
    """What another launcher of the gang answers to any question; each path has a signature of its own."""
    signatures = [SHELF.key.sign(b"answer", path, body).encode() for path in (b"/states/0/2", b"/pods")]
    head = b"HTTP/1.0 200 OK\r\nX-Arcface-Signature: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (signatures[b"addresses" in body], len(body)) + body


_ANSWERS = [
    _signed(state_server.States(states=[state_server.State(rank=2, step=8, manifest="0a" * 32)]).to_json().encode()),
    _signed(b'{"states":[]}'),
    _signed(b'{"addresses":[{"pod":0,"address":"10.0.0.11"},{"pod":2,"address":"fd00::1"}],"later":1}'),
]


def _mutate_answer(random: Random, sample: bytes, others: Sequence[bytes]) -> bytes:
    """Changes of the whole, or of a body that is signed all the same."""
    if random.random() < 0.3:
        return mutate_text(random, sample, others)
    return _signed(mutate_json(random, sample.partition(b"\r\n\r\n")[2], others))


class _Answering(http.client.HTTPConnection):
    """A connection to a launcher that answers this, whatever it is asked."""

    data = b""

    def connect(self) -> None:
        """Without a socket."""
        self.sock: Any = mock.Mock(makefile=lambda *_: io.BytesIO(self.data))


def _told(data: bytes) -> state_server.States | state_server.Addresses:
    peer = state_client.Peer("10.0.0.2", SHELF.key, time.monotonic() + 60)
    with mock.patch("http.client.HTTPConnection", type("Connection", (_Answering,), {"data": data})):
        try:
            if b"addresses" in data:
                return peer.announce(state_server.Address(pod=2, address="10.0.0.3"))
            return peer.states(0, 2)
        except http.client.HTTPException as error:
            raise InvalidInput(f"is no HTTP: {type(error).__name__}") from error


def _is_what_was_told(data: bytes, value: state_server.States | state_server.Addresses) -> bool:
    """It is signed, as it is, and all that was taken is in it; addresses are such to the system's own reader."""
    text = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[1].decode("utf-8", "replace")
    told, _ = json.JSONDecoder().raw_decode(text.lstrip())
    for each in getattr(value, "addresses", []):
        socket.inet_pton(socket.AF_INET6 if ":" in each.address else socket.AF_INET, each.address)
    if isinstance(value, state_server.Addresses):
        pairs = zip(value.addresses, told["addresses"], strict=True)
        return all(
            (one.pod, ipaddress.ip_address(one.address)) == (other["pod"], ipaddress.ip_address(other["address"]))
            for one, other in pairs
        )
    return is_part(json.loads(value.to_json()), told)


def _decided(data: bytes) -> Any:
    """What the operator decides of it: a status that the API server takes."""
    found = GangWord.parse(data)
    if found is None or (found.job_uid, found.attempt) != ("u", 2):
        raise InvalidInput("is no word of this gang")
    return [plan_in("Training", {"words": HeardWords(found, views.NOW)}).status]


_CALLS = [b"3\n", b"7 anew", b"12 anew 10.0.0.11", b"1 anew fd00::1\n"]


def _launch(data: bytes) -> LaunchCall:
    called = LaunchCall.parse(data.decode("utf-8", "replace"))
    if called == LaunchCall():
        raise InvalidInput("calls for no launch")
    return called


def _is_that_launch(data: bytes, value: LaunchCall) -> bool:
    """A number, perhaps a word, perhaps an address that the system's own reader takes."""
    number, *others = data.decode().split()
    if value.scheduler is not None:
        socket.inet_pton(socket.AF_INET6 if ":" in value.scheduler else socket.AF_INET, value.scheduler)
    addresses = [str(ipaddress.ip_address(text)) for text in others[1:]]
    told = [] if value.scheduler is None else [value.scheduler]
    return int(number) == value.launch and others[:1] == ["anew"] * value.is_anew and addresses == told


_ADDRESSES = [b"10.0.0.11\n", b"fd00::1"]


def _address(data: bytes) -> str:
    text = rendezvous._content(scratch.write("scheduler", data))
    return rendezvous._address(text or "", "scheduler")


def _is_that_address(data: bytes, value: str) -> bool:
    """The same address to the system's own reader."""
    family = socket.AF_INET6 if ":" in value else socket.AF_INET
    return socket.inet_pton(family, data.decode().strip()) == socket.inet_pton(family, value)
