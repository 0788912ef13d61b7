"""Asking rank 0 for its report, telling its warnings, and noticing when the training does not move."""

import httpx

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import Progress
from arcface_operator.local.view import View

TIMEOUT_SECONDS = 0.5


class ReportProbe:
    """Reads /progress of a pod."""

    def __init__(self) -> None:
        # Loopback addresses are never behind the proxies that the environment may name.
        self.client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)

    def __call__(self, address: str) -> TrainerReport | None:
        """The report so far, or None while the pod does not serve it."""
        try:
            response = self.client.get(f"http://{address}:{METRICS_PORT}/progress")
            return TrainerReport.parse(response.content) if response.is_success else None
        except httpx.HTTPError:
            return None


class Notices:
    """Tells the user what the trainer warns of and what it verifies, each thing once."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.told: set[str] = set()
        self.skipped = 0
        self.verified_step = -1

    def see(self, report: TrainerReport) -> None:
        """Tell new warnings and verifications, and the first images that are skipped."""
        verification = report.progress.verification if report.progress else None
        if verification is not None and verification.step > self.verified_step:
            self.verified_step = verification.step
            accuracies = ", ".join(f"{result.dataset} {result.accuracy:.4f}" for result in verification.results)
            self.view.note(f"verified after epoch {verification.epoch}: {accuracies}")
        for warning in report.warnings:
            if warning not in self.told:
                self.told.add(warning)
                self.view.note(f"warning: {warning}")
        if not self.skipped:
            self.count(report.skipped_images)

    def count(self, skipped: int) -> None:
        """Tell how many images are skipped, where they are more than was told before."""
        if skipped > self.skipped:
            self.skipped = skipped
            self.view.note(
                f"warning: images that could not be used, so that others stand in for them: {skipped}; list them "
                "with 'arcface data verify'"
            )


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
