"""The document that an evaluation writes for programs, and that reports are drawn from."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from arcface_api.errors import InvalidInput, explained
from arcface_api.model import Model
from arcface_api.resource import status
from arcface_evaluator.report import figures as set_figures, outcomes as pair_outcomes, provenance, searches
from arcface_faces import positioned_file, whole_file


class PairAccuracy(Model):
    """What a status tells of a pair set, unrounded."""

    dataset: str
    """Name of the set."""
    accuracy: float = Field(ge=0, le=1)
    """Mean over the folds."""
    std: float = Field(ge=0, le=1)
    """Population standard deviation over the folds."""
    pairs: int = Field(ge=1)
    """Pairs in the set."""

    @property
    def in_status(self) -> status.PairResult:
        """Rounded."""
        return status.PairResult(**dict(self))


class IjbTar(Model):
    """What a status tells of an IJB set, unrounded."""

    dataset: str
    """Name of the set."""
    tar_at_far: dict[str, float]
    """True accept rate at each false accept rate."""

    @property
    def in_status(self) -> status.IjbResult:
        """Rounded."""
        return status.IjbResult(**dict(self))


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
    """95 % interval of the accuracy, which allows for the choice of thresholds."""


class IjbRates(Model):
    """Rates under one choice of the protocol."""

    dataset: str
    """Name of the set."""
    keep_norm: bool
    """Whether images' vectors kept their length."""
    detector_score: bool
    """Whether they were multiplied by the detector's confidence."""
    flip: bool
    """Whether the mirrored view was added."""
    nearest: dict[str, float]
    """True accept rate at the point of the whole curve that is nearest to each false accept rate."""
    published: dict[str, float] = Field(default_factory=dict)
    """The same on the curve without intermediate points: what the reference's script prints."""
    conservative: dict[str, float]
    """Largest true accept rate with at most that false accept rate."""
    unresolved: list[str]
    """False accept rates for which there are too few impostor pairs."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Of the usual choice: 95 % intervals of the rates in truth at these false accept rates."""


class ScoreCurves(Model):
    """Scores of a set's pairs, condensed."""

    dataset: str
    """Name of the set."""
    protocol: str
    """How scores came about, in words."""
    fpr: list[float]
    """False accept rates of points of the curve, rising."""
    tpr: list[float]
    """True accept rates there."""
    lowest: float
    """Where the first bin begins."""
    highest: float
    """Where the last bin ends; bins are equally wide."""
    genuine: list[int] = Field(min_length=1)
    """Pairs of one person by bin of their score."""
    impostors: list[int] = Field(min_length=1)
    """Pairs of two persons, likewise."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.fpr) != len(self.tpr) or len(self.genuine) != len(self.impostors) or self.lowest >= self.highest:
            raise ValueError(f"{self.dataset}: the numbers of its curves do not belong together")
        return self


class Numbers(Model):
    """All that was measured."""

    results: list[PairAccuracy] = Field(default_factory=list)
    """Pair sets, in the shape of the status of a job."""
    ijb: list[IjbTar] = Field(default_factory=list)
    """IJB sets, likewise."""
    details: list[PairDetails] = Field(default_factory=list)
    """Every other number, one entry a pair set."""
    ijb_details: list[IjbRates] = Field(default_factory=list)
    """Rates of IJB sets under every choice that the protocol leaves open."""
    identification: list[searches.IdentificationRates] = Field(default_factory=list)
    """1:N identification on sets of templates."""
    all_pairs: list[searches.AllPairsRates] = Field(default_factory=list)
    """All images of lists against all others."""
    curves: list[ScoreCurves] = Field(default_factory=list)
    """What a report's plots are drawn from."""
    figures: list[set_figures.SetFigures] = Field(default_factory=list)
    """Areas, equal error rates and operating points, one entry a set, each with those of its groups."""
    outcomes: list[pair_outcomes.Outcomes] = Field(default_factory=list)
    """What became of each pair, for comparisons."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if missing := {found.dataset for found in self.details} - {result.dataset for result in self.results}:
            raise ValueError(f"details of {', '.join(sorted(missing))} without a result")
        return self


class EvaluationFile(Numbers):
    """The document that `--json` writes."""

    checkpoint: str | None = None
    """Checkpoint that was evaluated; absent for embeddings."""
    protocol: provenance.AnyProtocol = provenance.PairProtocol()
    """How the numbers came about; where sets differ, those of the first."""
    inputs: list[provenance.InputFile] = Field(min_length=1)
    """Files that were read; of a checkpoint its manifest, which holds the hashes of the others."""
    sets: list[provenance.SetRecord] = Field(default_factory=list)
    """Each set by itself; earlier releases write none."""

    @classmethod
    def of(cls, record: provenance.SetRecord, numbers: Numbers, checkpoint: str | None) -> Self:
        """The document of one set."""
        return cls(
            **dict(numbers), protocol=record.protocol, inputs=record.inputs, checkpoint=checkpoint, sets=[record]
        )

    @classmethod
    def joined(cls, documents: Sequence[Self]) -> Self:
        """One document of those of several sets, at least one, of one source."""
        lists: Iterable[str] = [*Numbers.model_fields, "sets"]
        inputs = {(file.path, file.sha256): file for each in documents for file in each.inputs}
        return documents[0].model_copy(
            update={
                **{name: list(chain.from_iterable(getattr(each, name) for each in documents)) for name in lists},
                "inputs": list(inputs.values()),
            }
        )

    @property
    def datasets(self) -> list[str]:
        """Names of the sets, each once."""
        names = [
            *(each.dataset for each in self.results),
            *(each.dataset for each in self.ijb),
            *(each.dataset for each in self.identification),
            *(each.dataset for each in self.all_pairs),
            *(each.dataset for each in self.outcomes),
        ]
        return list(dict.fromkeys(names))

    def hashes_of(self, dataset: str) -> dict[str, list[str]]:
        """Hashes of the files that say who is compared with whom in a set, sorted, by the kind of its protocol."""
        found = {
            type(record.protocol).__name__: sorted(file.sha256 for file in record.inputs if file.of_set)
            for record in self.sets
            if record.dataset == dataset
        }
        return {kind: hashes for kind, hashes in found.items() if hashes}

    def counts_of(self, dataset: str) -> dict[str, int]:
        """How much there is in a set, in words."""
        counts = dict[str, int]()
        for curves in self.curves:
            if curves.dataset == dataset:
                counts |= {"pairs of one person": sum(curves.genuine), "pairs of two persons": sum(curves.impostors)}
        for found in self.identification:
            if found.dataset == dataset:
                counts |= {f"templates enrolled in {each.gallery}": each.enrolled for each in found.galleries}
                counts |= {f"probes with a mate in {each.gallery}": each.mated for each in found.galleries}
        for rates in self.all_pairs:
            if rates.dataset == dataset:
                of_group = "" if rates.group is None else f" of {rates.group}"
                counts |= {f"images{of_group}": rates.images, f"pairs of one person{of_group}": rates.genuine}
        return counts

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one that was written."""
        with explained(path, "cannot be read", "correct the path"):
            return cls.from_ours(positioned_file.read_regular(path), str(path))

    def write(self, path: Path) -> None:
        """Write it for people and programs, whole or not at all."""
        whole_file.write_whole(path, self.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")


def read_all(paths: Sequence[Path]) -> dict[str, EvaluationFile]:
    """Documents by as much of the ends of their paths as tells them apart.

    Raises:
        InvalidInput: where one cannot be read, or comes twice.
    """
    files = [path.resolve() for path in paths]
    for path, file in zip(paths, files, strict=True):
        if files.count(file) > 1:
            raise InvalidInput(f"{path}: comes twice; compare different evaluations")
    stems = provenance.named_apart([file.with_suffix("") for file in files])
    names = stems if len(stems) == len(files) else provenance.named_apart(files)
    return {name: EvaluationFile.read(path) for name, path in zip(names, paths, strict=True)}
