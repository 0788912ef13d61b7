"""Pods that answer well, slowly, endlessly or not at all."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.contract.reports import TrainerReport
from arcface_operator.controller import observer
from arcface_operator.controller.observer import ProgressPoller
from arcface_operator.kubernetes.client import JobRef
from arcface_operator.local.kubelet.kubelet import draw_addresses

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REF = JobRef("faces", "quick")
REPORT = TrainerReport()
HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"


async def well(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEADER + REPORT.to_json().encode())


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


async def answer_of(handler: Handler) -> tuple[TrainerReport | None, list[JobRef]]:
    """What the poller keeps of a pod's answer, and the jobs that it told of."""
    (address,) = draw_addresses(1, {METRICS_PORT})
    told: list[JobRef] = []
    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, address, METRICS_PORT)
    poller = ProgressPoller(told.append)
    poller.poll(REF, address, TrainerReport)
    poller.poll(REF, address, TrainerReport)  # is being asked already
    await asyncio.wait_for(asyncio.gather(*poller.polls.values()), 90)
    report = poller.take(REF, address)
    assert poller.take(REF, address) is None
    await poller.close()
    await asyncio.wait_for(asyncio.gather(*served), 90)
    server.close()
    await server.wait_closed()
    return report, told


def test_an_answer_is_kept_and_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "TIMEOUT_SECONDS", 60.0)
    assert asyncio.run(answer_of(well)) == (REPORT, [REF])


@pytest.mark.parametrize("handler", [drip, flood, silence])
def test_a_pod_that_does_not_answer_in_time_or_size_is_left(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "TIMEOUT_SECONDS", 0.3)
    assert asyncio.run(answer_of(handler)) == (None, [])


def test_the_answer_of_another_pod_is_not_taken() -> None:
    async def scenario() -> TrainerReport | None:
        poller = ProgressPoller(lambda _: None)
        poller.answers[REF] = ("10.0.0.7", REPORT)
        report = poller.take(REF, "10.0.0.8")
        await poller.close()
        return report

    assert asyncio.run(scenario()) is None
