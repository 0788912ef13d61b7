"""Asking rank 0 of a job for its report while it runs."""

import httpx
from pydantic import ValidationError

from arcface_api.names import METRICS_PORT
from arcface_api.reports import TrainerReport

TIMEOUT_SECONDS = 2.0


class ReportReader:
    """Reads /progress of rank pods."""

    def __init__(self) -> None:
        # Pods are reached directly, whatever proxy leads out of the cluster.
        self.client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)

    async def read(self, address: str) -> TrainerReport | None:
        """The report, or None while the pod serves none."""
        host = f"[{address}]" if ":" in address else address
        try:
            response = await self.client.get(f"http://{host}:{METRICS_PORT}/progress")
            return TrainerReport.model_validate_json(response.content) if response.is_success else None
        except (httpx.HTTPError, ValidationError):
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()
