"""The connections to the API server: as many as there are watches, and some to ask on."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.config import kube_config

from arcface_api.errors import InvalidInput
from arcface_operator.kubernetes.client import Api
from arcface_operator.kubernetes.credentials import open_client

WATCHES = 6 * 25
"""Of an operator for 25 namespaces: jobs, pods, Services, ConfigMaps, claims and Workloads of each."""


class Server:
    """Watches that nothing comes on, and answers at once to all else."""

    def __init__(self) -> None:
        self.watches = 0
        self.are_all_open = asyncio.Event()
        self.is_over = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"kind": "Pod"})
        response = web.StreamResponse()
        await response.prepare(request)
        self.watches += 1
        if self.watches == WATCHES:
            self.are_all_open.set()
        await self.is_over.wait()
        return response


def written(folder: Path, port: int) -> Path:
    """A kubeconfig."""
    named = {"clusters": {"cluster": {"server": f"http://127.0.0.1:{port}"}}, "users": {"user": {}}}
    content: dict[str, Any] = {kind: [{"name": "test", **body}] for kind, body in named.items()}
    content["contexts"] = [{"name": "test", "context": {"cluster": "test", "user": "test"}}]
    path = folder / "kubeconfig"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "test", **content}))
    return path


async def look(api: Api) -> None:
    async for _ in api.watch("/api/v1/pods", {}):
        pass


def test_watches_of_many_namespaces_leave_connections_to_ask_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> dict[str, Any]:
        server, app = Server(), web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        kubeconfig = written(tmp_path, runner.addresses[0][1])
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        async with open_client() as client:
            api = Api(client)
            watches = [asyncio.create_task(look(api)) for _ in range(WATCHES)]
            try:
                async with asyncio.timeout(20):
                    await server.are_all_open.wait()
                    return await api.get("/api/v1/namespaces/faces/pods/quick-worker-0")
            finally:
                server.is_over.set()
                await asyncio.gather(*watches)
                await runner.cleanup()

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert asyncio.run(play()) == {"kind": "Pod"}


async def opened() -> None:
    async with open_client():
        pass


def test_a_kubeconfig_that_is_not_there_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths = os.pathsep.join(str(tmp_path / name) for name in ("mine", "ours"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", paths)
    with pytest.raises(InvalidInput) as refused:
        asyncio.run(opened())
    assert str(refused.value) == f"no way to the API server: {paths}: is not there; set KUBECONFIG or run in a pod"
    assert caplog.records == []


@pytest.mark.parametrize("text", ["127.0.0.1 localhost", "[]", "{", "{contexts: 1}", "current-context: a", ""])
def test_a_kubeconfig_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "config").write_text(text)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    with pytest.raises(InvalidInput, match=r"^no way to the API server: .*; set KUBECONFIG or run in a pod$"):
        asyncio.run(opened())
