"""The stand-in of a launcher keeps to what `launcher_words` says of GET /gang, as the real one does."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from arcface_api.contract.launcher_words import GangWord
from testbed.fake_nodes.progress_server import ProgressServer
from testbed.programs.processes import free_port

WORD = GangWord(job_uid="u", attempt=2, serial=3, launch=0, pods=8)
LONG_SECONDS = 60
Ask = Callable[..., Awaitable[bytes]]


def talking(scenario: Callable[[ProgressServer, Ask, int], Awaitable[None]]) -> None:
    """Play a scenario with a server, a way to ask it, and a port."""

    async def play() -> None:
        port = free_port()
        async with ProgressServer() as server, aiohttp.ClientSession(trust_env=False) as session:

            async def ask(**query: object) -> bytes:
                asked = {name: str(value) for name, value in query.items()}
                async with session.get(f"http://127.0.0.1:{port}/gang", params=asked) as reply:
                    return await reply.read()

            await asyncio.wait_for(scenario(server, ask, port), LONG_SECONDS)

    asyncio.run(play())


def test_whoever_knows_less_is_answered_at_once() -> None:
    async def scenario(server: ProgressServer, ask: Ask, port: int) -> None:
        async with server.at("127.0.0.1", port, WORD.to_json):
            assert GangWord.parse(await ask(after=2, seconds=LONG_SECONDS)) == WORD

    talking(scenario)


def test_whoever_knows_it_is_answered_when_the_time_is_over() -> None:
    async def scenario(server: ProgressServer, ask: Ask, port: int) -> None:
        async with server.at("127.0.0.1", port, WORD.to_json):
            began = asyncio.get_running_loop().time()
            assert GangWord.parse(await ask(after=3, seconds=0.2)) == WORD
            assert asyncio.get_running_loop().time() - began >= 0.2

    talking(scenario)


def test_the_connection_breaks_when_the_pod_ends() -> None:
    async def scenario(server: ProgressServer, ask: Ask, port: int) -> None:
        has_come = asyncio.Event()

        def answer() -> str:
            has_come.set()
            return WORD.to_json()

        async with server.at("127.0.0.1", port, answer):
            asked = asyncio.create_task(ask(after=3, seconds=LONG_SECONDS / 4))
            await has_come.wait()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked

    talking(scenario)
