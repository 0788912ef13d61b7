"""A job in the pod of its evaluator: its report grows set by set, documents and a page lie beside the checkpoints.

    <checkpoints of the job>/evaluation/step-00002000/<set>.json    as soon as the set is done
    <checkpoints of the job>/evaluation/step-00002000/report.html   in the end, with its plots
    <checkpoints of the job>/evaluation/step-00002000.json          all sets in one document

Whatever ends the process, another one goes on with the sets that have no document yet.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Self

from rich.table import Table

from arcface_api import errors, names
from arcface_api.contract import pod_environment, reports, run_config
from arcface_api.resource.spec import Accelerator
from arcface_evaluator import evaluation, progress, verifying
from arcface_evaluator.report import document, entries
from arcface_evaluator.sets import release, release_images
from arcface_faces.checkpoint import MANIFEST_FILE, checkpoint_folder
from arcface_faces.embedding.embedder import Embedder
from arcface_faces.pairs.pair_set import PairSet, open_sets, set_files
from arcface_faces.progress import watched_by

LOG = logging.getLogger(__name__)
FOLDER = "evaluation"
"""Of the documents, in that of the job's checkpoints."""

OpenNetwork = Callable[[Path, Accelerator], AbstractContextManager[Embedder]]
"""Of the checkpoint in a folder, on the job's accelerator."""
Announce = Callable[[str | Table], object]


def run_job(config_file: Path, termination_log: Path, open_network: OpenNetwork, announce: Announce) -> None:
    """Evaluate; each set is reported as it is done, and a failure is raised again after it is reported."""
    report, count = reports.EvaluatorReport(), progress.ImageCount()
    try:
        config = run_config.RunConfig.read(config_file)
        identity = pod_environment.RankIdentity.from_environment()

        def live() -> reports.EvaluatorReport:
            return report.model_copy(update={"progress": count.progress}).signed(identity)

        serving = progress.serving(identity.address, config.metrics_port, live)
        with progress.stopping_at_once(), serving, watched_by(count.add):
            for report in _evaluate_job(config, open_network, announce):
                report.write(termination_log)
    except Exception as error:
        report.model_copy(update={"failure": reports.failure_from(error)}).write(termination_log)
        raise


def _evaluate_job(
    config: run_config.RunConfig, open_network: OpenNetwork, announce: Announce
) -> Iterator[reports.EvaluatorReport]:
    """The report after each set of the job's newest checkpoint; all are checked before the network is loaded."""
    job = _OpenedJob.of(config)
    place = Path(config.checkpoint.directory) / FOLDER / job.checkpoint.name
    kept = evaluation.KeptDocuments.open(place, config.ranks.accelerator)
    found, hardest = list[document.EvaluationFile](), list[entries.HardPairs]()
    with ExitStack() as stack:

        @cache
        def embedder() -> Embedder:
            return stack.enter_context(open_network(job.checkpoint, config.ranks.accelerator))

        tasks = job.tasks(embedder, kept)
        for done in evaluation.evaluate(tasks, job.name, kept):
            found.append(done.document)
            yield _report_of(job.name, found, job.metrics)
            finding = done.finding
            announce(f"{found[-1].sets[0].dataset}: evaluated before" if finding is None else finding.shown)
            hardest += [] if finding is None or kept is None else finding.pairs_to_show()
    if kept is not None and found:
        title = f"{config.job} {job.checkpoint.name}"
        _write_summary(kept.folder, title, document.EvaluationFile.joined(found), hardest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenedJob:
    """What is evaluated, opened and checked."""

    checkpoint: Path
    name: str
    """Of the checkpoint, relative to its claim."""
    sets: list[PairSet]
    releases: list[tuple[release.IjbRelease, release_images.ReleaseImages]]
    metrics: list[str]
    """What gates ask for."""

    @classmethod
    def of(cls, config: run_config.RunConfig) -> Self:
        """Open everything; InvalidInput where something is missing or wrong."""
        asked = config.evaluation
        if asked is None:
            raise errors.InvalidInput(f"job {config.job}: spec.evaluation is absent, there is nothing to evaluate")
        sets = open_sets(set_files(asked))
        opened = [_open_release(Path(asked.directory) / names.RELEASES / name) for name in asked.ijb]
        metrics = list(dict.fromkeys(gate.metric for gate in asked.gates))
        verifying.check_gates(metrics, sets, opened)
        releases = [(each, release_images.open_images(each)) for each in opened]
        checkpoint = checkpoint_folder(Path(config.checkpoint.directory))
        return cls(
            checkpoint=checkpoint,
            name=config.checkpoint.path_of(checkpoint),
            sets=sets,
            releases=releases,
            metrics=metrics,
        )

    def tasks(
        self, network: Callable[[], Embedder], kept: evaluation.KeptDocuments | None
    ) -> Iterator[evaluation.SetTask]:
        """A task a set; the network is opened by the first that needs it, and embeddings of releases are kept, too."""
        place = None if kept is None else verifying.EmbeddingsPlace(kept.folder, lambda: kept.accelerator)
        source = (self.checkpoint / MANIFEST_FILE,)
        for pair_set in self.sets:
            embed = partial(verifying.embed_all, pair_set, network)
            yield verifying.pairs_task(pair_set, source, embed, self._metrics_of(pair_set.name))
        for opened, images in self.releases:
            embed = partial(verifying.embed_templates, opened, images, network, source, place)
            yield verifying.release_task(opened, source, embed, images, self._metrics_of(opened.name))

    def _metrics_of(self, name: str) -> list[str]:
        return [metric for metric in self.metrics if metric.startswith(f"{name}.")]


def _open_release(folder: Path) -> release.IjbRelease:
    """A template set; what is told of it goes by its name, which the job knows by its folder's."""
    opened = release.open_ijb(folder, "anywhere")  # in the evaluator's pod there is nothing but what the job mounts
    if (sentence := reports.misnamed_release(folder, opened.name)) is not None:
        raise errors.InvalidInput(sentence)
    return opened


def _report_of(
    checkpoint: str, documents: Sequence[document.EvaluationFile], metrics: Sequence[str]
) -> reports.EvaluatorReport:
    """What is told of the sets that are done; the operator rounds no numbers."""
    measured: dict[str, float | None] = dict.fromkeys(metrics)
    for each in documents:
        # A document of before may hold what was asked for then: the digest goes by what is asked for now.
        measured |= {metric: value for metric, value in each.sets[0].measured.items() if metric in measured}
    return reports.EvaluatorReport(
        checkpoint=checkpoint,
        results=[result.in_status for each in documents for result in each.results],
        ijb=[rates.in_status for each in documents for rates in each.ijb],
        figures=reports.GateFigures.of(measured) if measured else None,
    )


def _write_summary(
    folder: Path, title: str, joined: document.EvaluationFile, hardest: Sequence[entries.HardPairs]
) -> None:
    """Write the document and the page of all sets; what cannot be written costs the evaluation nothing."""
    try:
        joined.write(folder.with_name(f"{folder.name}.json"))
        # Imported here: plotting takes long to load, and what has been found is reported by now.
        from arcface_evaluator.report.pages import evaluation_page  # noqa: PLC0415

        evaluation_page.write_page(folder, {title: joined}, hardest)
    except Exception as error:  # noqa: BLE001 - a page that fails for whatever reason must not fail the job
        LOG.warning("no page of the evaluation: %s: %s", folder, error)
