"""The one evaluation: sets that know how they are judged, to documents, each whole as soon as its set is done."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Self

from rich.table import Table

from arcface_api.errors import ArcFaceError
from arcface_api.resource.spec import Accelerator
from arcface_evaluator.report import document as documents, entries, provenance

LOG = logging.getLogger(__name__)
EMBEDDINGS = "embeddings"
"""Folder of those that are kept; see `verifying.embed_templates`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found on a set; no more is made of it than is asked for."""

    shown: str | Table
    """For people."""
    measure: Callable[[], documents.Numbers]
    hardest: Callable[[], list[entries.HardPairs]] = list
    """The pairs that a page shows, with their images."""
    figure: Callable[[str], float | None] = lambda _: None
    """A figure by the name that gates give it."""

    def pairs_to_show(self) -> list[entries.HardPairs]:
        """The hardest pairs; none, with a line in the log, where the images cannot be read: the numbers are known."""
        try:
            return self.hardest()
        except ArcFaceError as error:
            LOG.warning("the page shows no pairs of a set: %s", error)
            return []


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

    document: documents.EvaluationFile
    finding: Finding | None
    """None where the document was kept by an earlier process."""


@dataclass(frozen=True, slots=True)
class KeptDocuments:
    """A folder for whoever goes on after this process: documents of sets that are done, embeddings of the others.

    <folder>/IJBC.json
    <folder>/embeddings/IJBC/<of what>/    as long as there is no document
    """

    folder: Path
    accelerator: Accelerator
    """That the network computes on: float32 products are not the same on all."""

    @classmethod
    def open(cls, folder: Path, accelerator: Accelerator) -> Self | None:
        """Make the folder; None, with a line in the log, where nothing can be written there."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return cls(folder, accelerator)
        except OSError as error:
            LOG.warning(
                "documents and pages are not kept, results are told all the same: %s: %s", folder, error.strerror
            )
            return None

    def find(self, task: SetTask, inputs: Sequence[provenance.InputFile]) -> documents.EvaluationFile | None:
        """The document of a set, unless it is damaged or came about in another way, or lacks metrics."""
        path = self._path(task.name)
        try:
            if not path.is_file():
                return None
            kept = documents.EvaluationFile.read(path)
        except (OSError, ArcFaceError) as error:
            LOG.warning("a kept document is not used: %s", error)
            return None
        is_same = len(kept.sets) == 1 and kept.sets[0].is_of(inputs, task.protocol, self.accelerator)
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

    def drop_embeddings(self, name: str) -> None:
        """Remove those of a set whose document is there."""
        if self._path(name).is_file():
            shutil.rmtree(self.folder / EMBEDDINGS / name, ignore_errors=True)
            with suppress(OSError):  # there are those of other sets, or none at all
                (self.folder / EMBEDDINGS).rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def evaluate(
    tasks: Iterable[SetTask], checkpoint: str | None, kept: KeptDocuments | None = None
) -> Iterator[Evaluated]:
    """Judge set after set; between the last image of one and its document nothing is read that takes long.

    Args:
        tasks: the sets, which have been checked.
        checkpoint: what they are judged with, as documents name it; None for embeddings and models.
        kept: where documents are looked for and kept.
    """
    for task in tasks:
        inputs = task.inputs()
        found = None if kept is None else kept.find(task, inputs)
        if found is not None:
            LOG.info("%s was evaluated before: its document is used", task.name)
            yield Evaluated(document=found, finding=None)
        else:
            done = _evaluated(task, inputs, checkpoint, None if kept is None else kept.accelerator)
            if kept is not None:
                kept.keep(task.name, done.document)
            yield done
        if kept is not None:
            kept.drop_embeddings(task.name)


def _evaluated(
    task: SetTask, inputs: list[provenance.InputFile], checkpoint: str | None, accelerator: Accelerator | None
) -> Evaluated:
    """Judge a set."""
    began = monotonic()
    finding = task.judge()
    seconds, finished_at = monotonic() - began, datetime.now(UTC)
    figures = {metric: finding.figure(metric.removeprefix(f"{task.name}.")) for metric in task.metrics}
    record = provenance.SetRecord(
        dataset=task.name,
        protocol=task.protocol,
        images=task.images,
        inputs=inputs,
        accelerator=accelerator,
        versions=provenance.versions(),
        asked=list(task.metrics),
        measured={metric: value for metric, value in figures.items() if value is not None},
        seconds=seconds,
        finished_at=finished_at,
    )
    return Evaluated(document=documents.EvaluationFile.of(record, finding.measure(), checkpoint), finding=finding)
