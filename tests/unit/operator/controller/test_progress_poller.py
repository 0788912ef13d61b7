"""Pods that answer well, slowly, endlessly, for another job or not at all, and networks that let nobody through."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime, timedelta

import pytest

from arcface_api.contract.pod_environment import METRICS_PORT, RankIdentity
from arcface_api.contract.reports import TrainerReport
from arcface_operator.controller import progress_poller
from arcface_operator.controller.progress_poller import Answer, ProgressPoller, Question
from arcface_operator.decision.answers.sighting import Reach
from arcface_operator.kubernetes.client import JobRef
from arcface_operator.local.kubelet.kubelet import draw_addresses
from support.builders.views import NOW, make_report

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REF = JobRef("faces", "quick")
OWN = RankIdentity(job_uid="uid-1", attempt=2)
REPORT = make_report(7)
HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
PACKED_HEADER = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"


def answering(content: bytes, header: bytes = HEADER) -> Handler:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(header + content)

    return answer


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEADER)
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEADER)
    while True:
        writer.write(b" " * 100_000)
        await writer.drain()


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a mesh does that wants mTLS."""
    writer.transport.abort()


def question(address: str, attempt: int = 2, job_uid: str = "uid-1") -> Question:
    return Question(address=address, job_uid=job_uid, attempt=attempt, kind=TrainerReport)


@contextlib.asynccontextmanager
async def served(address: str, handler: Handler) -> AsyncIterator[None]:
    """A pod's port."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, address, METRICS_PORT)
    yield
    await asyncio.wait_for(asyncio.gather(*tasks), 90)
    server.close()
    await server.wait_closed()


async def ask(poller: ProgressPoller, asked: Question) -> Answer:
    poller.poll(REF, asked)
    poller.poll(REF, asked)  # is being asked already
    await asyncio.wait_for(asyncio.gather(*poller.polls.values()), 90)
    answer = poller.take(REF, asked)
    assert answer is not None
    assert poller.take(REF, asked) is None
    return answer


def answer_of(handler: Handler) -> tuple[Answer, list[JobRef]]:
    """What the poller keeps of a pod's answer, and the jobs that it told of."""

    async def scenario() -> tuple[Answer, list[JobRef]]:
        (address,), told = draw_addresses(1, {METRICS_PORT}), list[JobRef]()
        poller = ProgressPoller(told.append, lambda: NOW)
        async with served(address, handler):
            answer = await ask(poller, question(address))
            await poller.close()
        return answer, told

    return asyncio.run(scenario())


def test_nothing_is_kept_of_a_job_that_went_while_its_pod_was_being_asked() -> None:
    async def scenario() -> None:
        (address,) = draw_addresses(1, {METRICS_PORT})
        poller = ProgressPoller(lambda _: None, lambda: NOW)
        poller.poll(REF, question(address))
        asked = list(poller.polls.values())
        poller.forget(REF)
        await asyncio.wait(asked, timeout=90)
        assert (poller.polls, poller.answers, poller.last) == ({}, {}, {})
        await poller.close()

    asyncio.run(scenario())


def answer_at(address: str) -> Answer:
    """What comes of asking where no pod of ours serves."""

    async def scenario() -> Answer:
        poller = ProgressPoller(lambda _: None, lambda: NOW)
        answer = await ask(poller, question(address))
        await poller.close()
        return answer

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "report", [REPORT.signed(OWN), REPORT, TrainerReport().signed(OWN)], ids=["signed", "of N-1", "no progress yet"]
)
def test_an_answer_is_kept_and_told_of_once(report: TrainerReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_poller, "TIMEOUT_SECONDS", 60.0)
    answer, told = answer_of(answering(report.to_json().encode()))
    assert (answer.report, answer.sighting.reach, told) == (report, Reach.ANSWERS, [REF])


@pytest.mark.parametrize(
    ("handler", "reach", "detail"),
    [
        pytest.param(drip, Reach.SILENT, "", id="drips"),
        pytest.param(silence, Reach.SILENT, "", id="takes the connection and says nothing"),
        pytest.param(hang_up, Reach.SILENT, "", id="resets the connection"),
        pytest.param(flood, Reach.UNREADABLE, "more than 65536 bytes", id="floods"),
        pytest.param(answering(b"{}"), Reach.UNREADABLE, "HTTP 200 without a report", id="another program"),
        pytest.param(
            answering(b"RBAC: access denied", b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n"),
            Reach.UNREADABLE,
            "HTTP 403 without a report",
            id="a mesh's policy",
        ),
        pytest.param(
            answering(b"", b"HTTP/1.1 302 Found\r\nLocation: /metrics\r\nConnection: close\r\n\r\n"),
            Reach.UNREADABLE,
            "HTTP 302 without a report",
            id="sends elsewhere",
        ),
        pytest.param(
            answering(gzip.compress(REPORT.to_json().encode()), PACKED_HEADER),
            Reach.UNREADABLE,
            "HTTP 200 without a report",
            id="packed, as a small answer of any size could be",
        ),
        pytest.param(answering(b"", b"HELO\r\n\r\n"), Reach.SILENT, "", id="another protocol"),
        pytest.param(answering(b"", HEADER[:-2] + b"X: " + b"x" * 99_999), Reach.SILENT, "", id="endless header"),
        pytest.param(
            answering(b"{", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), Reach.SILENT, "", id="cut short"
        ),
    ],
)
def test_what_is_no_answer_is_told_apart(
    handler: Handler, reach: Reach, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_late = handler in {drip, silence}
    monkeypatch.setattr(progress_poller, "TIMEOUT_SECONDS", 0.3 if is_late else 60.0)
    answer, told = answer_of(handler)
    assert (answer.sighting.reach, answer.sighting.detail, answer.report, told) == (reach, detail, None, [])


@pytest.mark.parametrize(
    "other",
    [RankIdentity(job_uid="uid-1", attempt=1), RankIdentity(job_uid="uid-0", attempt=2)],
    ids=["attempt", "job"],
)
def test_the_report_of_another_pod_in_the_nodes_network_is_not_taken(
    other: RankIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_poller, "TIMEOUT_SECONDS", 60.0)
    answer, told = answer_of(answering(REPORT.signed(other).to_json().encode()))
    assert (answer.sighting.reach, answer.report, told) == (Reach.OTHER_ATTEMPT, None, [])
    assert "hostNetwork" in answer.sighting.sentence


@contextlib.contextmanager
def full_port(address: str) -> Iterator[None]:
    """A port whose kernel drops every SYN, as a default-deny NetworkPolicy does: nobody accepts, the queue is full."""
    with socket.create_server((address, METRICS_PORT), backlog=0), contextlib.ExitStack() as stack:
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, METRICS_PORT))
        yield


def test_a_port_that_drops_what_comes_is_told_from_one_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    (address,) = draw_addresses(1, {METRICS_PORT})
    with full_port(address):
        monkeypatch.setattr(progress_poller, "CONNECT_SECONDS", 0.3)
        dropped = answer_at(address).sighting
    assert (dropped.reach, dropped.endpoint) == (Reach.TIMED_OUT, f"{address}:{METRICS_PORT}")
    assert "NetworkPolicy" in dropped.sentence
    refused = answer_at(address).sighting
    assert (refused.reach, refused.detail) == (Reach.REFUSED, "ECONNREFUSED")


def test_an_address_without_a_route_is_told_of() -> None:
    sighting = answer_at("224.0.0.1").sighting  # TCP knows no way to a group
    assert (sighting.reach, sighting.detail) == (Reach.NO_ROUTE, "ENETUNREACH")


def test_what_is_no_address_has_no_route() -> None:
    sighting = answer_at("10.0.0.7/../:").sighting
    assert (sighting.reach, sighting.detail) == (Reach.NO_ROUTE, "")


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    answer, _ = answer_of(answering(REPORT.to_json().encode()))
    assert answer.report == REPORT


def test_an_address_of_the_new_kind_is_written_in_brackets() -> None:
    assert question("fd00::7").endpoint == f"[fd00::7]:{METRICS_PORT}"


def test_the_answer_to_another_question_is_not_taken() -> None:
    async def scenario() -> list[Answer | None]:
        (address,) = draw_addresses(1, {METRICS_PORT})
        poller, taken = ProgressPoller(lambda _: None, lambda: NOW), list[Answer | None]()
        async with served(address, answering(REPORT.to_json().encode())):
            for other in (question("10.0.0.8"), question(address, attempt=3), question(address, job_uid="uid-2")):
                poller.poll(REF, question(address))
                await asyncio.wait_for(asyncio.gather(*poller.polls.values()), 90)
                taken.append(poller.take(REF, other))
            await poller.close()
        return taken

    assert asyncio.run(scenario()) == [None, None, None]


def test_it_is_known_since_when_a_pod_does_not_answer() -> None:
    async def scenario() -> list[datetime]:
        (address,) = draw_addresses(1, {METRICS_PORT})
        seconds = iter(range(0, 1000, 10))
        poller = ProgressPoller(lambda _: None, lambda: NOW + timedelta(seconds=next(seconds)))
        since = [(await ask(poller, question(address))).sighting.since for _ in range(2)]
        async with served(address, answering(REPORT.to_json().encode())):
            since.append((await ask(poller, question(address))).sighting.since)
        since += [(await ask(poller, question(address))).sighting.since for _ in range(2)]
        since.append((await ask(poller, question(address, attempt=3))).sighting.since)
        await poller.close()
        return since

    times = [int((moment - NOW).total_seconds()) for moment in asyncio.run(scenario())]
    assert times == [0, 0, 20, 30, 30, 50]
