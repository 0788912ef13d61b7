"""What processes of ours tell others: the end of a pod (termination message, at most 4096 bytes), counts of data."""

from typing import Literal, Self

from pydantic import Field, model_validator

from arcface_api.model import Model
from arcface_api.names import TERMINATION_MESSAGE_LIMIT
from arcface_api.resource.status import CheckpointStatus, IjbResult, PairResult, Progress

FailureReason = Literal[
    "InvalidInput",  # exit code 2
    "Diverged",  # exit code 3
    "Stopped",  # exit code 143
    "RankDied",  # a rank process of the pod ended by itself
    "Error",
]


class ReportedFailure(Model):
    """Why the process ended with another exit code than 0."""

    reason: FailureReason
    """Class of the failure."""
    message: str
    """One line for people."""
    rank: int | None = Field(default=None, ge=0)
    """Rank that failed first in this pod."""
    exit_code: int
    """Exit code of that rank."""
    log: list[str] = []
    """Last lines it logged."""


class TrainerReport(Model):
    """The end of a trainer pod."""

    progress: Progress | None = None
    """Where the training stood; rank 0's pod only."""
    checkpoint: CheckpointStatus | None = None
    """Newest complete checkpoint; rank 0's pod only."""
    warnings: list[str] = []
    """What looks wrong without ending the training, a line each; rank 0's pod only."""
    skipped_images: int = Field(default=0, ge=0)
    """Images that a rank of this pod could not use, others taken in their place; the most of any of its ranks."""
    failure: ReportedFailure | None = None
    """Why it failed; absent when it succeeded."""


class EvaluatorReport(Model):
    """The end of the evaluator."""

    checkpoint: str | None = None
    """Checkpoint that was evaluated."""
    results: list[PairResult] = []
    """Pair sets."""
    ijb: list[IjbResult] = []
    """IJB sets."""
    failure: ReportedFailure | None = None
    """Why it failed; absent when it succeeded."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [*(result.dataset for result in self.results), *(ijb.dataset for ijb in self.ijb)]
        if len(set(names)) != len(names):
            raise ValueError("every set may be reported once")
        return self


class DataStats(Model):
    """Counts of a training set, as `arcface data stats --json` prints them."""

    directory: str
    """Folder of the set."""
    layout: Literal["records", "folder"]
    """`train.rec` with its index, or one subfolder of images per identity."""
    images: int = Field(ge=0)
    """Images of the identities that are kept."""
    identities: int = Field(ge=0)
    """Identities with at least as many images as asked for."""
    dropped_identities: int = Field(ge=0)
    """Identities with fewer images."""
    fewest_images: int = Field(ge=0)
    """Images of the smallest identity that is kept."""
    median_images: float = Field(ge=0)
    """Median of images per identity that is kept."""
    most_images: int = Field(ge=0)
    """Images of the largest identity."""


class PairSetCount(Model):
    """Size of a verification set."""

    name: str
    """File name without `.bin`."""
    pairs: int = Field(ge=0)
    """Pairs of images."""
    same: int = Field(ge=0)
    """Pairs that show one person."""


class IjbCount(Model):
    """Size of an IJB release."""

    name: str
    """IJBB or IJBC."""
    images: int = Field(ge=0)
    """Images."""
    templates: int = Field(ge=0)
    """Templates that they make up."""
    pairs: int = Field(ge=0)
    """Comparisons of templates."""
    same: int = Field(ge=0)
    """Comparisons of one person's."""


class SetCounts(Model):
    """Sizes of verification sets, as `arcface evaluate check --json` prints them."""

    sets: list[PairSetCount] = []
    """Pair sets in the order of the command line."""
    ijb: list[IjbCount] = []
    """IJB releases, likewise."""


def termination_message(report: TrainerReport | EvaluatorReport) -> bytes:
    """JSON of a report, shortened to what Kubernetes keeps."""
    text = report.to_json().encode()
    while len(text) > TERMINATION_MESSAGE_LIMIT and (shorter := shortened(report)) is not None:
        report = shorter
        text = report.to_json().encode()
    return text


def shortened(report: TrainerReport | EvaluatorReport) -> TrainerReport | EvaluatorReport | None:
    """The report with less: the oldest log line goes first, then warnings, the verification, the message's end."""
    failure = report.failure
    if failure is not None and failure.log:
        return report.model_copy(update={"failure": failure.model_copy(update={"log": failure.log[1:]})})
    if isinstance(report, TrainerReport) and report.warnings:
        return report.model_copy(update={"warnings": report.warnings[:-1]})
    if isinstance(report, TrainerReport) and report.progress is not None and report.progress.verification is not None:
        return report.model_copy(update={"progress": report.progress.model_copy(update={"verification": None})})
    if failure is not None and failure.message:
        half = failure.message[: len(failure.message) // 2]
        return report.model_copy(update={"failure": failure.model_copy(update={"message": half})})
    return None
