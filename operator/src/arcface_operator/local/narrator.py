"""Tells a user what becomes of a run: beginnings, warnings, restarts with their logs, and where it stands."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.observation import Observation, PodView
from arcface_operator.decision.plan import EmitEvent, Plan
from arcface_operator.decision.stages import TRAINING
from arcface_operator.local.kubelet.kubelet import log_name
from arcface_operator.local.progress import Notices, View


class Narrator:
    """Follows the decisions about one job."""

    def __init__(self, view: View, logs: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.view = view
        self.logs = logs
        self.now = now
        self.notices = Notices(view)

    def tell(self, observed: Observation, plan: Plan) -> None:
        """What is new in an observation and in what follows from it."""
        before, after = observed.job.status, plan.status
        if isinstance(observed.report, TrainerReport):
            self.notices.see(observed.report)
        if before.training_completion_time is None and after.training_completion_time is not None:
            self._tell_of_trained(observed, [pod for pod in observed.pods if pod.component == TRAINING.component])
        for event in plan.actions:
            if isinstance(event, EmitEvent) and event.type == "Warning" and after.phase != "Failed":
                self.view.note(f"{event.message}{self._log_of(before, after)}")
        if after.progress is not None and after.progress != before.progress:
            self.view.progress(after.progress)

    def _log_of(self, before: ArcFaceTrainingJobStatus, after: ArcFaceTrainingJobStatus) -> str:
        """Where the attempt that has just failed says more."""
        failure = after.failure
        if failure is None or failure.pod is None or after.attempt == before.attempt:
            return ""
        return f"; log: {self.log(failure.pod, before.attempt)}"

    def log(self, pod: str, attempt: int) -> Path:
        """What a pod has printed."""
        return self.logs / log_name(pod, attempt)

    def _tell_of_trained(self, observed: Observation, workers: list[PodView]) -> None:
        """The training is done: what its ranks said last."""
        ends = [pod.ended for pod in workers if pod.ended is not None]
        reports = [TrainerReport.parse(end.message) or TrainerReport() for end in ends]
        if reports:
            self.notices.see(reports[0])
            self.notices.count(max(report.skipped_images for report in reports))
        evaluation = observed.job.spec.evaluation
        if evaluation is not None:
            self.view.note(f"training is done; evaluating {', '.join([*evaluation.sets, *evaluation.ijb])}")

    def tell_of_stop(self) -> None:
        """A request to stop has come."""
        self.view.note("stopping; the ranks save their state (a second Ctrl-C kills them)")
