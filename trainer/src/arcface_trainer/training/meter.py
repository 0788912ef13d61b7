"""Keeps the figures of the running training: pure arithmetic on times that are passed in."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from arcface_api.resource.status import Progress

WINDOW = 20
"""Steps that means are taken over."""
STANDS_OUT = 0.1
"""Share of the time that the slowest rank waits above the median."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of this rank."""

    loss: float
    seconds: float
    """From the end of the last step to the end of this one."""
    waits: tuple[float, ...]
    """Part of it that each rank waited for its images, in seconds."""


@dataclass(slots=True)
class Meter:
    """Where the training stands and how fast it goes."""

    steps_per_epoch: int
    total_steps: int
    images_per_step: int
    """Over all ranks."""
    step: int = 0
    """Updates made."""
    recent: tuple[StepRecord, ...] = ()
    """The last steps; never changed but replaced, since another thread reads it for /progress."""

    def add(self, record: StepRecord) -> None:
        """Count one step."""
        self.recent = (*self.recent, record)[-WINDOW:]
        self.step += 1

    @property
    def loss(self) -> float | None:
        """Mean loss of the recent steps."""
        return _mean([record.loss for record in self.recent])

    @property
    def step_seconds(self) -> float | None:
        """Mean time of the recent steps."""
        return _mean([record.seconds for record in self.recent])

    @property
    def images_per_second(self) -> float | None:
        """Images of all ranks per second over the recent steps."""
        seconds = self.step_seconds
        return self.images_per_step / seconds if seconds else None

    @property
    def wait_shares(self) -> list[float]:
        """Share of the recent steps that each rank waited for its images; of nothing before the first step."""
        recent = self.recent
        total = sum(record.seconds for record in recent)
        return [sum(waits) / total for waits in zip(*(record.waits for record in recent), strict=True)] if total else []

    @property
    def data_wait_percent(self) -> float | None:
        """Share of the recent steps that the rank waited which waited longest."""
        shares = self.wait_shares
        return min(100.0, 100 * max(shares)) if shares else None

    @property
    def slowest_rank(self) -> int | None:
        """The rank that holds up the others: all go in step, so that only waits for images tell them apart."""
        shares = self.wait_shares
        if not shares or max(shares) - median(shares) < STANDS_OUT:
            return None
        return shares.index(max(shares))

    def progress(self, now: datetime) -> Progress:
        """The figures as the operator polls them."""
        step, seconds = self.step, self.step_seconds
        epoch = step // self.steps_per_epoch
        return Progress(
            epoch=epoch,
            epochs=f"{epoch}/{self.total_steps // self.steps_per_epoch}",
            step=step,
            total_steps=self.total_steps,
            loss=self.loss,
            images_per_second=self.images_per_second,
            step_milliseconds=None if seconds is None else 1000 * seconds,
            data_wait_percent=self.data_wait_percent,
            slowest_rank=self.slowest_rank,
            estimated_completion_time=None
            if seconds is None
            else now + timedelta(seconds=(self.total_steps - step) * seconds),
            updated_at=now,
        )

    def log_line(self, now: datetime) -> str:
        """The same for people who read the log."""
        progress = self.progress(now)
        left = (progress.estimated_completion_time or now) - now
        return (
            f"step={progress.step}/{progress.total_steps} epoch={progress.epoch} loss={progress.loss or 0:.4f} "
            f"images_per_second={progress.images_per_second or 0:.1f} step_ms={progress.step_milliseconds or 0:.0f} "
            f"data_wait={progress.data_wait_percent or 0:.1f}% eta={str(left).partition('.')[0]}"
        )


def _mean(values: list[float]) -> float | None:
    """Arithmetic mean, None of nothing."""
    return sum(values) / len(values) if values else None
