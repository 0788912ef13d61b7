"""What processes of ours tell others: the end of a pod (termination message, at most 4096 bytes), counts of data."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.errors import ArcFaceError, Diverged, ExitCode, printable
from arcface_api.model import Model
from arcface_api.resource.status import CheckpointStatus, EvaluationProgress, IjbResult, PairResult, Progress

LOG = logging.getLogger(__name__)
TERMINATION_MESSAGE_LIMIT = 4096
"""Bytes of a container's termination message that Kubernetes keeps."""

FailureReason = Literal[
    "InvalidInput",  # exit code 2
    "Diverged",  # exit code 3
    "Stopped",  # exit code 143
    "RankDied",  # a rank process of the pod ended by itself
    "Stalled",  # a rank process of the pod made no progress and was ended
    "Error",
]


class Standstill(Model):
    """What a rank did that made no progress, by which the one that is waited for is told from those that wait."""

    is_held: bool
    """Whether its process could not go on by itself."""
    step: int | None = None
    """Updates that it had made; absent before its first step began."""
    is_in_step: bool
    """Whether it was in a step, in which it may have waited for the others."""

    @property
    def order(self) -> tuple[bool, int, bool]:
        """Smallest for the rank that the others wait for: one that is held, else one that is behind."""
        return not self.is_held, -1 if self.step is None else self.step, self.is_in_step


class ReportedFailure(Model):
    """Why the process ended with another exit code than 0."""

    reason: str
    """Class of the failure; one of `FailureReason` where this release has written it."""
    message: str
    """One line for people."""
    rank: int | None = Field(default=None, ge=0)
    """Rank that failed first in this pod; of a training that has diverged, that where it began, in whatever pod."""
    exit_code: int = Field(ge=-(2**31), lt=2**31)
    """Exit code of that rank, within what Kubernetes holds one in."""
    log: list[str] = []
    """Last lines it logged."""
    standstill: Standstill | None = None
    """Of a rank that made no progress; absent in reports of earlier releases."""


REASONS: dict[ExitCode, FailureReason] = {
    ExitCode.INVALID_INPUT: "InvalidInput",
    ExitCode.DIVERGED: "Diverged",
    ExitCode.STOPPED: "Stopped",
}
"""What an exit code of ours means."""


class Report(Model):
    """What all processes of ours say of their end; a part that a newer release adds is passed over."""

    failure: ReportedFailure | None = None
    """Why it failed; absent when it succeeded."""
    job_uid: str | None = None
    """Which job's it is, in what is served: on a node's network another pod may answer at the same address."""
    attempt: int | None = Field(default=None, ge=0)
    """Which attempt's, likewise; both are absent from what earlier releases serve."""
    launch: int | None = Field(default=None, ge=0)
    """Which launch of the attempt's ranks; absent: the first."""

    @classmethod
    def parse(cls, message: str | bytes | bytearray) -> Self | None:
        """The report in a termination message or an answer; None where it holds something else."""
        try:
            report = cls.model_validate_json(message, extra="ignore")
        except ValidationError:
            return None
        return report if report.model_fields_set else None

    def is_of(self, job_uid: str | None, attempt: int, launch: int = 0) -> bool:
        """Whether it may be of this launch of an attempt: what it does not say cannot be held against it."""
        is_job = self.job_uid is None or self.job_uid == job_uid
        return is_job and self.attempt in {None, attempt} and (self.launch or 0) == launch

    def signed(self, identity: RankIdentity) -> Self:
        """The report with the job, the attempt and the launch that the process is of."""
        origin = {"job_uid": identity.job_uid, "attempt": identity.attempt, "launch": identity.launch or None}
        return self.model_copy(update=origin)

    def write(self, path: Path) -> bool:
        """Leave the report where the kubelet, or a launcher, looks for it; returns whether all of it is there.

        It may be written again with more. The file may be a mount that nothing can be renamed to, so that it is written
        in one piece over what is there: whoever ends the process at that moment finds the one or the other.
        Where that cannot be done it is logged and nothing else: how a process ends is decided by what it has done, and
        whoever reads no report knows that, too.
        """
        try:
            path.touch()
            with path.open("r+b", buffering=0) as file:
                file.write(termination_message(self).ljust(path.stat().st_size))
        except OSError as error:
            LOG.error("the report cannot be written file=%s reason=%s", path, error.strerror)  # noqa: TRY400
            return False
        return True


class TrainerReport(Report):
    """The end of a trainer pod, and what rank 0 serves at /progress meanwhile."""

    progress: Progress | None = None
    """Where the training stood; rank 0's pod only."""
    checkpoint: CheckpointStatus | None = None
    """Newest complete checkpoint; rank 0's pod only."""
    warnings: list[str] = []
    """What looks wrong without ending the training, a line each; rank 0's pod only."""
    skipped_images: int = Field(default=0, ge=0)
    """Images that a rank of this pod could not use, others taken in their place; the most of any of its ranks."""


Figure = Annotated[float, Field(ge=0, le=1), AfterValidator(lambda value: float(f"{value:.9g}"))]
"""A share that is judged: nearer to its bound than it tells, it is judged wrongly."""


class GateFigures(Model):
    """Figures that gates ask for, without their names, of which 64 would not fit into a termination message."""

    digest: str
    """Which metrics they are of, in their order."""
    values: list[Figure | None]
    """The figure of each; null where it could not be measured."""

    @classmethod
    def of(cls, figures: dict[str, float | None]) -> "GateFigures":
        """Figures by their metrics."""
        return cls(digest=_digest_of(figures), values=list(figures.values()))

    def by_metric(self, metrics: Iterable[str]) -> dict[str, float]:
        """Those that were measured; none where the gates have changed since."""
        asked = list(dict.fromkeys(metrics))
        if _digest_of(asked) != self.digest or len(asked) != len(self.values):
            return {}
        return {metric: value for metric, value in zip(asked, self.values, strict=True) if value is not None}


def _digest_of(metrics: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(metrics).encode()).hexdigest()[:16]


class EvaluatorReport(Report):
    """The end of the evaluator, and what it serves at /progress meanwhile."""

    progress: EvaluationProgress | None = None
    """Where it stands; absent at the end."""
    checkpoint: str | None = None
    """Folder of the checkpoint that was evaluated, relative to the claim."""
    results: list[PairResult] = []
    """Pair sets."""
    ijb: list[IjbResult] = []
    """IJB sets."""
    figures: GateFigures | None = None
    """What gates ask for beside accuracies and rates of IJB sets."""

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
    """The set's."""
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


def misnamed_release(folder: Path, name: str) -> str | None:
    """What is wrong with a template set whose files have another name than its folder, by which a job knows it."""
    return (
        None if folder.name == name else f"{folder}: its files are those of {name}; call the folder so, here and in ijb"
    )


def failure_from(error: Exception, rank: int | None = None) -> ReportedFailure:
    """The failure that an error means; of an error that is not ours, its kind is told, too."""
    if isinstance(error, ArcFaceError):
        code, message = error.exit_code, str(error)
    else:
        code, message = ExitCode.FAILED, f"{type(error).__name__}: {error}"
    if isinstance(error, Diverged) and error.rank is not None:
        rank = error.rank
    reason = REASONS.get(code, "Error")
    return ReportedFailure(reason=reason, message=printable(" ".join(message.split())), rank=rank, exit_code=int(code))


def termination_message(report: Report) -> bytes:
    """JSON of a report, shortened to what Kubernetes keeps."""
    text = report.to_json().encode()
    while len(text) > TERMINATION_MESSAGE_LIMIT and (shorter := _shortened(report)) is not None:
        report = shorter
        text = report.to_json().encode()
    return text


def _shortened(report: Report) -> Report | None:
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
