"""The one evaluation: sets that know how they are judged, to documents, each whole as soon as its set is done."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Self

from rich.table import Table

from arcface_api.errors import ArcFaceError
from arcface_evaluator.report import document as documents, entries, provenance

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found on a set; no more is made of it than is asked for."""

    shown: str | Table
    """For people."""
    measure: Callable[[], documents.Numbers]
    hardest: Callable[[], list[entries.HardPairs]] = list
    """The pairs that a page shows."""
    figure: Callable[[str], float | None] = lambda _: None
    """A figure by the name that gates give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTask:
    """A set and the source of its embeddings."""

    name: str
    images: int
    protocol: provenance.AnyProtocol
    inputs: Callable[[], list[provenance.InputFile]]
    """Hashes of what the numbers depend on."""
    judge: Callable[[], Finding]
    """Embeds the images and judges them."""
    metrics: Sequence[str] = ()
    """That gates ask for, by their full names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A set that is done."""

    document: Callable[[], documents.EvaluationFile]
    finding: Finding | None
    """None where the document was kept by an earlier process."""


@dataclass(frozen=True, slots=True)
class KeptDocuments:
    """A folder with a document for each set that is done, for whoever goes on after this process."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """Make the folder; None, with a line in the log, where nothing can be written there."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return cls(folder)
        except OSError as error:
            LOG.warning(
                "documents and pages are not kept, results are told all the same: %s: %s", folder, error.strerror
            )
            return None

    def find(self, task: SetTask) -> documents.EvaluationFile | None:
        """The document of a set, unless it is damaged or of other inputs, programs, protocols or metrics."""
        path = self._path(task.name)
        try:
            if not path.is_file():
                return None
            kept = documents.EvaluationFile.read(path)
        except (OSError, ArcFaceError) as error:
            LOG.warning("a kept document is not used: %s", error)
            return None
        is_same = len(kept.sets) == 1 and kept.sets[0].is_of(task.inputs(), task.protocol)
        if is_same and kept.sets[0].dataset == task.name and set(task.metrics) <= set(kept.sets[0].asked):
            return kept
        LOG.info("a kept document is of something else and made anew: %s", path)
        return None

    def keep(self, name: str, document: documents.EvaluationFile) -> None:
        """Write a document; where that cannot be done a line in the log says so: its numbers are known anyhow."""
        try:
            document.write(self._path(name))
        except ArcFaceError as error:
            LOG.warning("the document is not kept, another process would begin anew: %s", error)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def evaluate(
    tasks: Iterable[SetTask], checkpoint: str | None, kept: KeptDocuments | None = None
) -> Iterator[Evaluated]:
    """Judge set after set.

    Args:
        tasks: the sets, which have been checked.
        checkpoint: what they are judged with, as documents name it; None for embeddings and models.
        kept: where documents are looked for and kept. They are made only when they are asked for where it is None.
    """
    for task in tasks:
        found = None if kept is None else kept.find(task)
        if found is not None:
            LOG.info("%s was evaluated before: its document is used", task.name)
            yield _kept(found)
            continue
        done = _evaluated(task, checkpoint)
        if kept is not None:
            kept.keep(task.name, done.document())
        yield done


def _kept(document: documents.EvaluationFile) -> Evaluated:
    return Evaluated(document=lambda: document, finding=None)


def _evaluated(task: SetTask, checkpoint: str | None) -> Evaluated:
    """Judge a set."""
    began = monotonic()
    finding = task.judge()
    seconds, finished_at = monotonic() - began, datetime.now(UTC)

    @cache
    def document() -> documents.EvaluationFile:
        figures = {metric: finding.figure(metric.removeprefix(f"{task.name}.")) for metric in task.metrics}
        record = provenance.SetRecord(
            dataset=task.name,
            protocol=task.protocol,
            images=task.images,
            inputs=task.inputs(),
            versions=provenance.versions(),
            asked=list(task.metrics),
            measured={metric: value for metric, value in figures.items() if value is not None},
            seconds=seconds,
            finished_at=finished_at,
        )
        return documents.EvaluationFile.of(record, finding.measure(), checkpoint)

    return Evaluated(document=document, finding=finding)
