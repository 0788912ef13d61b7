"""A Lease that is held as long as its holder can say so, with an API server that is played."""

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from arcface_api.errors import ArcFaceError
from arcface_operator.kubernetes import election
from arcface_operator.kubernetes.client import Api, ApiError, Unreachable
from arcface_operator.kubernetes.election import Candidate
from arcface_operator.kubernetes.priority_semaphore import FLOW

POD = {"apiVersion": "v1", "kind": "Pod"}


class Server:
    """Holds one Lease, under optimistic concurrency; requests may be made to hang or to fail."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.renewals = 0
        self.hanging = 0
        """So many of the next requests are answered by nobody, as on a connection whose other end is gone."""
        self.error: Exception | None = None

    async def find(self, _path: str) -> Any:
        await self.answered()
        return None if self.lease is None else dict(self.lease)

    get = find

    async def create(self, lease: dict[str, Any]) -> None:
        await self.answered()
        if self.lease is not None:
            raise ApiError(409, "exists")
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": "1"}}

    async def replace(self, _path: str, lease: dict[str, Any]) -> None:
        await self.answered()
        assert self.lease is not None
        version = self.lease["metadata"]["resourceVersion"]
        if lease["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "changed")
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": f"{int(version) + 1}"}}
        self.renewals += 1

    async def answered(self) -> None:
        if self.hanging > 0:
            self.hanging -= 1
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol's times, a hundred times faster; what is to last is far from its limit."""
    for name, seconds in (("RENEW_SECONDS", 1.0), ("RETRY_SECONDS", 0.02), ("TRY_SECONDS", 0.1)):
        monkeypatch.setattr(election, name, seconds)


def candidate(server: Server, identity: str = "a") -> Candidate:
    api: Any = server
    return Candidate(api, "system", identity, lambda: datetime.now(UTC))


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_connection_that_nobody_answers_on_does_not_cost_the_leadership() -> None:
    """Half-open: the first try of a renewal hangs, the next one has a connection of its own."""

    async def play() -> None:
        server = Server()
        leading = asyncio.create_task(candidate(server).lead(asyncio.Event().wait))  # type: ignore[arg-type]
        await until(lambda: server.renewals > 2)
        for _ in range(3):
            server.hanging, before = 1, server.renewals
            await until(lambda before=before: server.renewals > before + 1)
        assert not leading.done()
        leading.cancel()
        await asyncio.wait({leading})
        assert server.lease is not None
        assert (server.lease["spec"]["holderIdentity"], server.lease["spec"]["leaseTransitions"]) == ("", 0)

    asyncio.run(play())


@pytest.mark.parametrize("error", [Unreachable("no route"), ApiError(403, "no right"), ApiError(500, "etcd")])
def test_who_cannot_renew_for_too_long_stops_working(error: Exception) -> None:
    async def play() -> bool:
        server, was_cancelled = Server(), False

        async def work() -> None:
            nonlocal was_cancelled
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                was_cancelled = True
                raise

        leading = asyncio.create_task(candidate(server).lead(work))
        await until(lambda: server.renewals > 0)
        server.error = error
        with pytest.raises(ArcFaceError, match="the leadership is lost"):
            await asyncio.wait_for(leading, 20)
        return was_cancelled

    assert asyncio.run(play())


def test_of_two_one_leads_until_it_leaves() -> None:
    async def play() -> list[str]:
        server, led = Server(), list[str]()

        async def work(name: str) -> None:
            led.append(name)
            await asyncio.Event().wait()

        first = asyncio.create_task(candidate(server, "a").lead(lambda: work("a")))
        await until(lambda: led)
        second = asyncio.create_task(candidate(server, "b").lead(lambda: work("b")))
        await until(lambda: server.renewals > 10)
        assert led == ["a"]
        first.cancel()
        await until(lambda: len(led) == 2)
        second.cancel()
        await asyncio.wait({first, second})
        return led

    assert asyncio.run(play()) == ["a", "b"]


class SlowConnections:
    """The official client's part: an API server that takes its time for pods, over connections that are not shared."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.configuration, self.rest_client = SimpleNamespace(host=""), self
        self.created = 0

    async def update_params_for_auth(self, *_: Any) -> None:
        pass

    async def request(self, method: str, url: str, *, body: Any, **_: Any) -> Any:
        if "/leases" not in url:
            await asyncio.sleep(0.05)
            self.created += 1
            return self.answer(body)
        if method == "GET":
            found = await self.server.find(url)
            return self.answer(found, 200 if found else 404)
        await (self.server.create(body) if method == "POST" else self.server.replace(url, body))
        return self.answer(body)

    @staticmethod
    def answer(body: Any, status: int = 200) -> Any:
        async def read() -> bytes:
            return json.dumps(body or {}).encode()

        return SimpleNamespace(status=status, reason="", headers={}, read=read)


@pytest.mark.parametrize("is_shared", [True, False], ids=["slots shared with pods", "slots of its own"])
def test_the_leadership_holds_while_a_large_gang_is_created(is_shared: bool) -> None:
    """In the order of asking, over shared slots, it is lost: as 10 s are too short for 4,096 creations of 100 ms."""

    async def play() -> int:
        connections: Any = SlowConnections(Server())
        api = Api(connections)
        lease_api = api if is_shared else Api(connections)

        async def create() -> None:
            pods = ({**POD, "metadata": {"name": f"quick-{index}", "namespace": "faces"}} for index in range(768))
            await asyncio.gather(*(api.create(pod) for pod in pods))

        FLOW.set("one and the same")
        await Candidate(lease_api, "system", "a", lambda: datetime.now(UTC)).lead(create)
        return int(connections.created)

    if is_shared:
        with pytest.raises(ArcFaceError, match="the leadership is lost"):
            asyncio.run(play())
    else:
        assert asyncio.run(play()) == 768


@pytest.mark.parametrize("spec", [{}, {"spec": None}, {"spec": {"leaseDurationSeconds": None}}], ids=repr)
def test_a_lease_that_says_nothing_is_free(spec: dict[str, Any]) -> None:
    """An administrator may have made it, or emptied it."""

    async def play() -> str:
        server = Server()
        server.lease = {"metadata": {"resourceVersion": "1"}, **spec}
        leading = asyncio.create_task(candidate(server).lead(asyncio.Event().wait))  # type: ignore[arg-type]
        await until(lambda: leading.done() or server.renewals > 0)
        leading.cancel()
        await asyncio.wait({leading})
        return str((server.lease["spec"] or {}).get("leaseTransitions"))

    assert asyncio.run(play()) in {"0", "1"}
