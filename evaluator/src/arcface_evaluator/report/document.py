"""What an evaluation prints and writes: lines for people, JSON for programs."""

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from arcface_api.errors import InvalidInput
from arcface_api.model import Model
from arcface_api.resource.status import IjbResult, PairResult
from arcface_evaluator.metrics.intervals import accuracy_interval
from arcface_evaluator.metrics.score_curves import ScoreCurves
from arcface_evaluator.report.ijb import IjbProtocol, IjbRates
from arcface_faces.pairs.protocol import FOLDS, THRESHOLD_STEP, THRESHOLDS, PairScores


class PairDetails(Model):
    """Every number that was measured on one pair set."""

    dataset: str
    """Name of the set."""
    flip: bool
    """Whether mirrored images took part."""
    folds: list[float] = Field(min_length=1)
    """Accuracy on each fold."""
    thresholds: list[float]
    """Squared distance below which each fold's pairs were called the same."""
    xnorm: float
    """Mean length of the embeddings."""
    accuracy_without_flip: float | None = None
    """Mean accuracy from the original images only."""
    std_without_flip: float | None = None
    """Its population standard deviation over the folds."""
    interval: tuple[float, float]
    """95 % interval of the accuracy: bootstrap over the pairs of each fold, thresholds held."""


class PairProtocol(Model):
    """How the pairs were judged."""

    folds: int = FOLDS
    """Contiguous folds in the order of the file."""
    threshold_step: float = THRESHOLD_STEP
    """Thresholds are 0, one step, two steps and so on."""
    threshold_count: int = len(THRESHOLDS)
    """Number of thresholds tried."""
    same: Literal["squaredDistance < threshold"] = "squaredDistance < threshold"
    """When a pair is called the same; distances are between unit vectors."""
    ties: Literal["smallestThreshold"] = "smallestThreshold"
    """Which of equally good thresholds is taken."""
    std: Literal["population"] = "population"
    """Kind of the standard deviation."""
    flip: Literal["sum"] = "sum"
    """How the embeddings of original and mirrored image are joined where both are known."""


class InputFile(Model):
    """A file that the numbers depend on."""

    path: str
    """Where it was."""
    sha256: str
    """Hash of its bytes."""


class EvaluationFile(Model):
    """The document that `--json` writes."""

    checkpoint: str | None = None
    """Checkpoint that was evaluated; absent for embeddings."""
    results: list[PairResult] = Field(default_factory=list)
    """Pair sets, as in the status of a job."""
    ijb: list[IjbResult] = Field(default_factory=list)
    """IJB sets, as in the status of a job."""
    details: list[PairDetails] = Field(default_factory=list)
    """Every other number, one entry a pair set."""
    ijb_details: list[IjbRates] = Field(default_factory=list)
    """Rates of IJB sets under every choice that the protocol leaves open."""
    curves: list[ScoreCurves] = Field(default_factory=list)
    """What a report's plots are drawn from."""
    protocol: PairProtocol | IjbProtocol = PairProtocol()
    """How the pairs were judged."""
    inputs: list[InputFile]
    """Files that were read; of a checkpoint its manifest, which holds the hashes of the others."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if missing := {found.dataset for found in self.details} - {result.dataset for result in self.results}:
            raise ValueError(f"details of {', '.join(sorted(missing))} without a result")
        return self

    def sha256_of(self, dataset: str) -> str | None:
        """Hash of the file of a pair set; None where no input is called so."""
        return next((file.sha256 for file in self.inputs if Path(file.path).stem == dataset), None)

    @classmethod
    def read(cls, path: Path) -> "EvaluationFile":
        """Read one that was written."""
        try:
            return cls.from_json(path.read_bytes(), str(path))
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be read ({error.strerror}): correct the path") from None

    def write(self, path: Path) -> None:
        """Write it for people and programs."""
        try:
            path.write_text(self.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be written ({error.strerror}): name another file") from error


def lines_of(report: PairScores) -> list[str]:
    """The two lines of a set, as the reference prints them."""
    kind = "Accuracy-Flip" if report.flip else "Accuracy"
    return [
        f"[{report.dataset}]XNorm: {report.xnorm:f}",
        f"[{report.dataset}]{kind}: {report.folds.mean:1.5f}+-{report.folds.std:1.5f}",
    ]


def result_of(report: PairScores) -> PairResult:
    """The entry of `results`."""
    return PairResult(dataset=report.dataset, accuracy=report.folds.mean, std=report.folds.std, pairs=report.pairs)


def details_of(report: PairScores) -> PairDetails:
    """The entry of `details`."""
    plain = report.folds_without_flip
    return PairDetails(
        dataset=report.dataset,
        flip=report.flip,
        folds=report.folds.accuracies.tolist(),
        thresholds=report.folds.thresholds.tolist(),
        xnorm=report.xnorm,
        accuracy_without_flip=plain.mean if plain else None,
        std_without_flip=plain.std if plain else None,
        interval=accuracy_interval(report.folds, report.pairs),
    )


def input_file(path: Path) -> InputFile:
    """Hash a file that was read."""
    try:
        with path.open("rb") as opened:
            return InputFile(path=str(path), sha256=hashlib.file_digest(opened, "sha256").hexdigest())
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}): mend its rights") from error
