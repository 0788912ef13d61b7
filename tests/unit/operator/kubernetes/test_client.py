"""What is asked of the API server, and what its answers mean."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from arcface_operator.kubernetes.client import Api, ApiError

POD: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "faces", "name": "quick-worker-0"}}


class Server:
    """Answers everything alike, and keeps what it was asked for."""

    def __init__(self, status: int = 200, answer: Any = None, **headers: str) -> None:
        self.answer = SimpleNamespace(status=status, reason="Reason", headers=headers, read=self.read)
        self.content = json.dumps(answer or {}).encode()
        self.urls: list[str] = []

    async def read(self) -> bytes:
        return self.content

    async def request(self, method: str, url: str, **_: Any) -> Any:
        self.urls.append(f"{method} {url}")
        return self.answer

    async def update_params_for_auth(self, *_: Any) -> None:
        pass

    def api(self) -> Api:
        client: Any = SimpleNamespace(
            rest_client=self,
            configuration=SimpleNamespace(host=""),
            update_params_for_auth=self.update_params_for_auth,
        )
        return Api(client)


def error_of(server: Server) -> ApiError:
    with pytest.raises(ApiError) as found:
        asyncio.run(server.api().create(POD))
    return found.value


@pytest.mark.parametrize(
    ("server", "seconds"),
    [
        pytest.param(Server(429, None, **{"Retry-After": "7"}), 7.0, id="header"),
        pytest.param(Server(500, {"details": {"retryAfterSeconds": 3}}), 3.0, id="details"),
        pytest.param(Server(503, None, **{"Retry-After": "Fri, 27 Nov 2026 19:00:00 GMT"}), None, id="a proxy's date"),
        pytest.param(Server(429, {"details": None}), None, id="none"),
    ],
)
def test_a_busy_server_says_when_to_come_back(server: Server, seconds: float | None) -> None:
    assert error_of(server).retry_after_seconds == seconds


def test_an_error_has_the_servers_words() -> None:
    answer = {"message": "exceeded quota", "reason": "Forbidden", "details": {"causes": [{"reason": "Quota"}]}}
    error = error_of(Server(403, answer))
    assert (error.status, error.message, error.reason, error.causes) == (
        403,
        "exceeded quota",
        "Forbidden",
        frozenset({"Quota"}),
    )


WRITES: dict[str, Callable[[Api], Awaitable[Any]]] = {
    "POST": lambda api: api.create(POD),
    "PATCH that applies": lambda api: api.apply(POD, is_ours=True),
    "PATCH that merges": lambda api: api.merge("/api/v1/namespaces/faces/pods/quick-worker-0", {}),
    "PUT": lambda api: api.replace("/apis/arcface.io/v1alpha1/namespaces/faces/arcfacetrainingjobs/quick/status", {}),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_in_one_name(write: str) -> None:
    server = Server()

    async def play() -> None:
        await WRITES[write](server.api())

    asyncio.run(play())
    (url,) = server.urls
    assert url.startswith(f"{write.split(maxsplit=1)[0]} ")
    assert "fieldManager=arcface-operator" in url


def test_what_others_have_changed_is_taken_back_only_in_an_object_that_is_known_to_be_ours() -> None:
    server = Server()

    async def play() -> None:
        await server.api().apply(POD, is_ours=True)
        await server.api().apply(POD, is_ours=False)

    asyncio.run(play())
    assert ["force=true" in url for url in server.urls] == [True, False]
