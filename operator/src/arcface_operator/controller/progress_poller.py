"""Asking rank 0 of jobs for its report while it runs, beside everything else: a pod may answer slowly, or never."""

import asyncio
from collections.abc import Callable

import httpx

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.contract.reports import TrainerReport
from arcface_operator.kubernetes.client import JobRef

TIMEOUT_SECONDS = 2.0
"""For the whole answer."""
SIZE_LIMIT = 1 << 16
"""Bytes of an answer; a report has a few hundred."""
IN_FLIGHT = 64


class ProgressPoller:
    """Reads /progress of rank pods and keeps each answer until it is taken."""

    def __init__(self, answered: Callable[[JobRef], None]) -> None:
        self.answered = answered
        # Pods are reached directly, whatever proxy leads out of the cluster.
        self.client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        self.in_flight = asyncio.Semaphore(IN_FLIGHT)
        self.polls: dict[JobRef, asyncio.Task[None]] = {}
        self.answers: dict[JobRef, tuple[str, TrainerReport]] = {}

    def poll(self, ref: JobRef, address: str) -> None:
        """Have a pod asked unless it is being asked already."""
        if ref not in self.polls:
            task = self.polls[ref] = asyncio.create_task(self._fetch(ref, address))
            task.add_done_callback(lambda _: self.polls.pop(ref, None))

    def take(self, ref: JobRef, address: str) -> TrainerReport | None:
        """The answer of the pod at this address, once."""
        answer = self.answers.pop(ref, None)
        return answer[1] if answer is not None and answer[0] == address else None

    def forget(self, ref: JobRef) -> None:
        """The job is gone."""
        self.answers.pop(ref, None)

    async def _fetch(self, ref: JobRef, address: str) -> None:
        """Ask a pod; only an answer is told of."""
        async with self.in_flight:
            report = await self._read(address)
        if report is not None:
            self.answers[ref] = (address, report)
            self.answered(ref)

    async def _read(self, address: str) -> TrainerReport | None:
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
        for task in list(self.polls.values()):
            task.cancel()
        await self.client.aclose()
