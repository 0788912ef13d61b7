"""Writing a job's status: at once where something has happened, and where only figures changed now and then."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.controller.job_store import JobStore
from arcface_operator.controller.job_tracker import FIRST_RETRY_SECONDS, JobTracker
from arcface_operator.controller.work_queue import WorkQueue
from arcface_operator.kubernetes.client import CONFLICT, NOT_FOUND, REFUSED, Api, ApiError
from arcface_operator.kubernetes.executor import Refused
from arcface_operator.kubernetes.priority_semaphore import Priority
from arcface_operator.manifests.metadata import Manifest

FIGURES = {"progress": None, "workers": None, "rank_table": None, "checkpoint": None}


@dataclass
class StatusWriter:
    """Writes what was decided, and keeps the answer as the newest state of the job."""

    api: Api
    jobs: JobStore
    queue: WorkQueue
    figures_seconds: float
    """Shortest time between two writes of figures."""
    clock: Callable[[], float] = time.monotonic

    async def write(
        self, tracker: JobTracker, job: ArcFaceTrainingJob, status: ArcFaceTrainingJobStatus, priority: Priority
    ) -> bool:
        """Write the status if it has changed; False where the job has changed meanwhile and is looked at again.

        The whole status is replaced on condition that the job is still the one that was decided on (optimistic
        concurrency): a decision on an outdated state comes to nothing.

        Raises:
            Refused: where the API server will not have the status.
        """
        body = self.jobs.body(tracker.ref)
        if status == job.status or body is None:
            return body is not None
        if not _is_urgent(job.status, status) and (seconds := self._too_early(tracker)):
            self.queue.wake(tracker.ref, seconds)
            return True
        return await self._replace(tracker, body, status, priority)

    async def _replace(
        self, tracker: JobTracker, body: Manifest, status: ArcFaceTrainingJobStatus, priority: Priority
    ) -> bool:
        """One request, and what its answer means."""
        content = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        try:
            answer = await self.api.replace(f"{tracker.ref.path}/status", {**body, "status": content}, priority)
        except ApiError as error:
            if error.status == CONFLICT:
                self.queue.wake(tracker.ref, FIRST_RETRY_SECONDS)  # the watch brings the newer one, most likely before
                return False
            if error.status == NOT_FOUND:
                self.jobs.delete(body)
                return False
            if error.status in REFUSED:
                raise Refused(f"status: {error.message}") from None
            raise
        tracker.written_at = self.clock()
        self.jobs.upsert(answer)
        return True

    def _too_early(self, tracker: JobTracker) -> float | None:
        """Time until figures may be written again."""
        if tracker.written_at is None:
            return None
        left = tracker.written_at + self.figures_seconds - self.clock()
        return left if left > 0 else None


def _is_urgent(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> bool:
    """Whether something other than figures and the wording of conditions has changed."""
    return _without_figures(old) != _without_figures(new)


def _without_figures(status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """The status without what may wait."""
    conditions = [condition.model_copy(update={"message": ""}) for condition in status.conditions]
    return status.model_copy(update={**FIGURES, "conditions": conditions})
