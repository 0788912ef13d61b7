"""What Prometheus is told of the operator itself."""

import asyncio
import threading
from collections.abc import Iterator
from importlib.metadata import version

import aiohttp
import pytest
from prometheus_client import Metric, registry

from arcface_operator.controller import metrics
from arcface_operator.controller.metrics import OperatorMetrics
from testbed.programs.processes import free_port


def test_what_runs_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFACE_REVISION", "1a2b3c4")
    labels = {"version": version("arcface-api"), "revision": "1a2b3c4"}
    assert OperatorMetrics(list).registry.get_sample_value("arcface_build_info", labels) == 1
    monkeypatch.setenv("ARCFACE_REVISION", "")
    labels["revision"] = "unknown"
    assert OperatorMetrics(list).registry.get_sample_value("arcface_build_info", labels) == 1


class Patient(registry.Collector):
    """Takes as long as the test wants, as the figures of very many jobs do."""

    def __init__(self) -> None:
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def collect(self) -> Iterator[Metric]:
        self.is_asked.set()
        assert self.may_answer.wait(60)
        return iter([])


def test_nothing_waits_for_the_figures_of_many_jobs() -> None:
    shown, many, port = OperatorMetrics(list), Patient(), free_port()
    many.may_answer.set()
    shown.registry.register(many)
    many.may_answer.clear()
    many.is_asked.clear()

    async def scrape_and_probe() -> None:
        runner = await metrics.serve(metrics.application(shown, lambda: True), "127.0.0.1", port)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", trust_env=False) as session:
            scrape = asyncio.create_task(session.get("/metrics"))
            while not many.is_asked.is_set():
                await asyncio.sleep(0.01)
            async with session.get("/healthz") as probe:
                assert probe.status == 200
            assert not scrape.done()
            many.may_answer.set()
            assert "arcface_operator_is_leader" in await (await scrape).text()
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(scrape_and_probe(), 60))
