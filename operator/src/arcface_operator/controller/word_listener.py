"""Hearing at once what the launchers of a gang say: one question to that of pod 0, open until there is something new.

Launchers of earlier releases do not serve it, and a NetworkPolicy may deny it: then a rank's death shows by the end of
its pod, as it does anyway.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from arcface_api.contract.launcher_words import LONGEST_WAIT_SECONDS, GangWord
from arcface_api.contract.pod_environment import LAUNCHER_PORT
from arcface_operator.decision.observation import HeardWords
from arcface_operator.kubernetes.client import JobRef

CONNECT_SECONDS = 2.0
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 30.0
"""Between two questions that came to nothing."""
BREATH_SECONDS = 0.1
"""Between two answers: a launcher that always has something new must not keep the operator busy."""
UNHEARD = -1
"""Less than any serial: a launcher answers it at once, also one that has nothing to tell."""
SIZE_LIMIT = 1 << 17
"""Bytes of an answer: eight failures with the last lines of their logs."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a gang is heard."""

    address: str
    """Of its pod 0."""
    job_uid: str | None
    attempt: int

    @property
    def url(self) -> str:
        """Of the words."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{LAUNCHER_PORT}/gang"


class WordListener:
    """Listens to gangs, each in a task of its own."""

    def __init__(self, heard: Callable[[JobRef], None], now: Callable[[], datetime]) -> None:
        self.heard = heard
        self.now = now
        self.session: aiohttp.ClientSession | None = None
        self.tasks: dict[JobRef, tuple[Place, asyncio.Task[None]]] = {}
        self.words: dict[JobRef, HeardWords] = {}

    def listen(self, ref: JobRef, place: Place) -> HeardWords | None:
        """What a gang has said so far; it is listened to from now on."""
        known = self.tasks.get(ref)
        if known is None or known[0] != place:
            self.forget(ref)
            self.tasks[ref] = place, asyncio.create_task(self._listen(ref, place))
        return self.words.get(ref)

    def forget(self, ref: JobRef) -> None:
        """Nobody of a job's is to be heard any more."""
        if (known := self.tasks.pop(ref, None)) is not None:
            known[1].cancel()
        self.words.pop(ref, None)

    async def close(self) -> None:
        """End what is under way."""
        tasks = [task for _, task in self.tasks.values()]
        for ref in list(self.tasks):
            self.forget(ref)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.session is not None:
            await self.session.close()

    async def _listen(self, ref: JobRef, place: Place) -> None:
        """Ask again and again."""
        serial, pause = UNHEARD, FIRST_PAUSE_SECONDS
        while True:
            word = await self._ask(place, serial)
            if word is None or (word.job_uid, word.attempt) != (place.job_uid, place.attempt):
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
                continue
            serial, pause = word.serial, FIRST_PAUSE_SECONDS
            self._keep(ref, word)
            await asyncio.sleep(BREATH_SECONDS)

    def _keep(self, ref: JobRef, word: GangWord) -> None:
        """An answer; peers of the first that failed are waited for from that on. Only what is new is acted on."""
        last, now = self.words.get(ref), self.now()
        is_known = last is not None and last.gang == word
        is_later = last is not None and last.gang.failures and last.gang.launch == word.launch
        at = last.at if last is not None and (is_known or is_later) else now
        self.words[ref] = HeardWords(word, at, answered_at=now)
        if word.serial and not is_known:
            self.heard(ref)

    async def _ask(self, place: Place, after: int) -> GangWord | None:
        """One question; None where there is no answer to it."""
        asked = {"after": str(after), "seconds": str(LONGEST_WAIT_SECONDS)}
        bounds = aiohttp.ClientTimeout(total=LONGEST_WAIT_SECONDS + CONNECT_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._connections().get(
                place.url, params=asked, allow_redirects=False, timeout=bounds
            ) as response:
                content = bytearray()
                async for part in response.content.iter_any():
                    content += part
                    if len(content) > SIZE_LIMIT:
                        return None
            return GangWord.parse(content) if response.ok else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _connections(self) -> aiohttp.ClientSession:
        """To pods directly and none for longer than an answer, as those of the progress poller."""
        if self.session is None:
            connector, jar = aiohttp.TCPConnector(limit=0, force_close=True), aiohttp.DummyCookieJar()
            self.session = aiohttp.ClientSession(connector=connector, cookie_jar=jar, auto_decompress=False)
        return self.session
