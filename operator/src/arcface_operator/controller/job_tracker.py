"""What is worth remembering of a job from one look to the next, and harmless to forget."""

from dataclasses import dataclass
from datetime import datetime

from arcface_operator.kubernetes.client import JobRef

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0


@dataclass
class JobTracker:
    """One job's."""

    ref: JobRef
    since: datetime
    """When this replica first looked at it."""
    polled_at: float | None = None
    """By the monotonic clock: when rank 0 was last asked."""
    written_at: float | None = None
    """By the monotonic clock: when the status was last written."""
    podless_since: datetime | None = None
    """Since when its evaluator has no pod."""
    failures: int = 0
    """Looks in a row that failed."""
    refusal: str | None = None
    """What the API server would not have at the last look."""
    refusals: int = 0
    """In a row."""

    def count_failure(self) -> float:
        """Take note of a look that failed; seconds until the next, each time in a row later."""
        self.failures += 1
        return min(FIRST_RETRY_SECONDS * 2.0 ** (self.failures - 1), LAST_RETRY_SECONDS)

    def count_refusal(self, why: str, first_seconds: float) -> float:
        """Take note of what was refused; seconds until the next try, each time in a row later."""
        seconds = min(first_seconds * 2.0**self.refusals, max(LAST_RETRY_SECONDS, first_seconds))
        self.refusal = why
        self.refusals += 1
        return seconds
