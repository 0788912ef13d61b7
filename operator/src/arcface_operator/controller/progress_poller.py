"""Asking rank 0 of jobs for its report while it runs, beside everything else: a pod may answer slowly, or never."""

import asyncio
from collections.abc import Callable

import httpx

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.contract.reports import TrainerReport
from arcface_operator.kubernetes.reflector import Key

TIMEOUT_SECONDS = 2.0
"""For the whole answer."""
SIZE_LIMIT = 1 << 16
"""Bytes of an answer; a report has a few hundred."""
IN_FLIGHT = 64


class ReportReader:
    """Reads /progress of rank pods and keeps each answer until it is taken."""

    def __init__(self, answered: Callable[[Key], None]) -> None:
        self.answered = answered
        # Pods are reached directly, whatever proxy leads out of the cluster.
        self.client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        self.in_flight = asyncio.Semaphore(IN_FLIGHT)
        self.asking: dict[Key, asyncio.Task[None]] = {}
        self.answers: dict[Key, tuple[str, TrainerReport]] = {}

    def ask(self, key: Key, address: str) -> None:
        """Have a pod asked unless it is being asked already."""
        if key not in self.asking:
            task = self.asking[key] = asyncio.create_task(self.fetch(key, address))
            task.add_done_callback(lambda _: self.asking.pop(key, None))

    def take(self, key: Key, address: str) -> TrainerReport | None:
        """The answer of the pod at this address, once."""
        answer = self.answers.pop(key, None)
        return answer[1] if answer is not None and answer[0] == address else None

    def forget(self, key: Key) -> None:
        """The job is gone."""
        self.answers.pop(key, None)

    async def fetch(self, key: Key, address: str) -> None:
        """Ask a pod; only an answer is told of."""
        async with self.in_flight:
            report = await self.read(address)
        if report is not None:
            self.answers[key] = (address, report)
            self.answered(key)

    async def read(self, address: str) -> TrainerReport | None:
        """The report, or None while the pod serves none in time."""
        host = f"[{address}]" if ":" in address else address
        content = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self.client.stream("GET", f"http://{host}:{METRICS_PORT}/progress") as response,
            ):
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > SIZE_LIMIT:
                        return None
            return TrainerReport.parse(content) if response.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self.asking.values()):
            task.cancel()
        await self.client.aclose()
