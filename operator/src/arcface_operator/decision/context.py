"""One decision's input, with the derived facts that several rules need."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.observation import Observation, PodView, workers_of
from arcface_operator.manifests.worker_pod import has_rank_table
from arcface_operator.settings import Settings


@dataclass(frozen=True)
class Case:
    """A job at one moment, and the status as decided so far."""

    seen: Observation
    status: ArcFaceTrainingJobStatus
    settings: Settings
    now: datetime

    @property
    def job(self) -> ArcFaceTrainingJob:
        """The job."""
        return self.seen.job

    @property
    def spec(self) -> ArcFaceTrainingJobSpec:
        """What its user asks for."""
        return self.seen.job.spec

    @property
    def workers(self) -> tuple[PodView, ...]:
        """Rank pods of the current attempt."""
        return workers_of(self.seen.pods, self.status.attempt)

    @property
    def old_workers(self) -> tuple[PodView, ...]:
        """Rank pods of earlier attempts."""
        return tuple(pod for pod in self.all_workers if pod.attempt != self.status.attempt)

    @property
    def all_workers(self) -> tuple[PodView, ...]:
        """Rank pods of any attempt."""
        return tuple(pod for pod in self.seen.pods if pod.component == "worker")

    @property
    def has_rank_table(self) -> bool:
        """Whether the ranks find each other by a rank table."""
        return has_rank_table(self.job)

    def with_status(self, **changes: object) -> "Case":
        """The case after a change of status."""
        return replace(self, status=self.status.model_copy(update=changes))

    def is_past(self, since: datetime | None, seconds: float | None) -> bool:
        """Whether a limit in seconds since a moment is there and over."""
        return since is not None and seconds is not None and self.now >= since + timedelta(seconds=seconds)

    def seconds_left(self, since: datetime | None, seconds: float | None) -> float | None:
        """Time until a limit is over; None where there is no limit."""
        if since is None or seconds is None:
            return None
        return max(0.0, (since + timedelta(seconds=seconds) - self.now).total_seconds())
