"""What is heard of launchers: the real one of pod 0 speaks, over a real connection."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from arcface_api.contract.launcher_words import PodWord
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import ReportedFailure
from arcface_operator.controller import word_listener
from arcface_operator.controller.word_listener import Place, WordListener
from arcface_operator.kubernetes.client import JobRef
from arcface_trainer.pod.launches import Exchange
from support.builders.views import NOW
from testbed.programs.processes import free_port

REF = JobRef("default", "quick")
PLACE = Place(address="127.0.0.1", job_uid="u", attempt=2)
SECONDS = 90


def word(rank: int, **fields: Any) -> PodWord:
    failure = ReportedFailure(reason="RankDied", message="why", rank=rank, exit_code=137)
    return PodWord(**{"job_uid": "u", "attempt": 2, "launch": 0, "rank": rank, "failure": failure, **fields})


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Exchange:
    """That of pod 0, served where the listener asks for it."""
    found = Exchange(RankIdentity(world_size=2, attempt=2, job_uid="u"))
    port = found.serve("127.0.0.1", free_port())
    monkeypatch.setattr(word_listener, "LAUNCHER_PORT", port)
    monkeypatch.setattr(word_listener, "FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(word_listener, "LONGEST_WAIT_SECONDS", 0.5)
    return found


def listening(scenario: Callable[[WordListener, asyncio.Event], Awaitable[None]]) -> None:
    """Play a scenario with a listener, and the event that it has heard something."""

    async def play() -> None:
        heard = asyncio.Event()
        listener = WordListener(lambda _: heard.set(), lambda: NOW)
        try:
            await scenario(listener, heard)
        finally:
            await listener.close()

    asyncio.run(play())


async def next_word(heard: asyncio.Event) -> None:
    await asyncio.wait_for(heard.wait(), SECONDS)
    heard.clear()


def test_a_failure_is_heard_when_it_is_said(exchange: Exchange) -> None:
    async def scenario(listener: WordListener, heard: asyncio.Event) -> None:
        assert listener.listen(REF, PLACE) is None
        while not exchange._listeners:
            await asyncio.sleep(0.01)
        assert exchange.take(word(1))
        await next_word(heard)
        words = listener.listen(REF, PLACE)
        assert words is not None
        assert [each.rank for each in words.gang.failures] == [1]
        assert words.at == NOW
        exchange.take(word(0))
        await next_word(heard)
        again = listener.listen(REF, PLACE)
        assert again is not None
        assert [each.rank for each in again.gang.failures] == [1, 0]

    listening(scenario)


def test_a_launcher_with_nothing_to_say_is_known_to_answer_and_causes_no_look(exchange: Exchange) -> None:
    moments = itertools.count()

    async def scenario(listener: WordListener, heard: asyncio.Event) -> None:
        listener.now = lambda: NOW + timedelta(seconds=next(moments))
        listener.listen(REF, PLACE)
        while (words := listener.words.get(REF)) is None or words.answered_at == words.at:
            await asyncio.sleep(0.01)
        assert (words.gang.serial, words.at, heard.is_set()) == (0, NOW, False)

    listening(scenario)


def test_what_was_said_before_anybody_listened_is_heard(exchange: Exchange) -> None:
    assert not exchange.take(word(1))

    async def scenario(listener: WordListener, heard: asyncio.Event) -> None:
        listener.listen(REF, PLACE)
        await next_word(heard)
        assert listener.words[REF].gang.failures == [word(1)]

    listening(scenario)


def test_another_gang_at_the_address_is_not_heard_and_the_listener_goes_on(exchange: Exchange) -> None:
    other = Place(address="127.0.0.1", job_uid="u", attempt=3)

    async def scenario(listener: WordListener, heard: asyncio.Event) -> None:
        listener.listen(REF, other)
        exchange.take(word(1))
        while exchange._heard_at is None:
            await asyncio.sleep(0.01)
        assert listener.words == {}
        listener.listen(REF, PLACE)
        await next_word(heard)
        assert set(listener.tasks) == {REF}

    listening(scenario)


def test_a_launcher_of_a_release_before_is_asked_again_and_again(exchange: Exchange, monkeypatch: Any) -> None:
    closed, port = free_port(), word_listener.LAUNCHER_PORT
    monkeypatch.setattr(word_listener, "LAUNCHER_PORT", closed)

    async def scenario(listener: WordListener, heard: asyncio.Event) -> None:
        assert await listener._ask(PLACE, 0) is None
        monkeypatch.setattr(word_listener, "LAUNCHER_PORT", port)
        listener.listen(REF, PLACE)
        exchange.take(word(1))
        await next_word(heard)

    listening(scenario)


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"attempt":-1}', b"[" * 1000, b" " * (1 << 18)])
def test_an_answer_that_is_no_word_is_none(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        writer.close()

    async def scenario(listener: WordListener, _: asyncio.Event) -> None:
        port = free_port()
        monkeypatch.setattr(word_listener, "LAUNCHER_PORT", port)
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            assert await listener._ask(PLACE, 0) is None

    listening(scenario)


def test_addresses_of_both_families_are_asked() -> None:
    assert Place(address="fd00::7", job_uid=None, attempt=0).url == "http://[fd00::7]:9399/gang"
    assert PLACE.url == "http://127.0.0.1:9399/gang"
