"""Asking rank 0 where the training stands, and noticing when it does not move."""

import httpx
from pydantic import ValidationError

from arcface_api.names import METRICS_PORT
from arcface_api.reports import TrainerReport
from arcface_api.status import Progress

TIMEOUT_SECONDS = 0.5


class ProgressProbe:
    """Reads /progress of a pod."""

    def __init__(self) -> None:
        # Loopback addresses are never behind the proxies that the environment may name.
        self.client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)

    def __call__(self, address: str) -> Progress | None:
        """The progress, or None while the pod does not serve it."""
        try:
            response = self.client.get(f"http://{address}:{METRICS_PORT}/progress")
            return TrainerReport.model_validate_json(response.content).progress if response.is_success else None
        except (httpx.HTTPError, ValidationError):
            return None


class StepWatch:
    """Remembers when the step last changed."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.changed_at = 0.0

    def see(self, progress: Progress, now: float) -> None:
        """Take note of a progress."""
        if progress.step != self.step:
            self.step, self.changed_at = progress.step, now

    def idle_seconds(self, now: float) -> float | None:
        """Time since the last new step; None before the first progress."""
        return None if self.step is None else now - self.changed_at
