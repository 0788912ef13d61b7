"""Sources of embeddings times sets, to documents: pair sets, IJB releases, and both in the evaluator's pod of a job.

IJB 1:1 verification gives TAR at FAR for every choice that its protocol leaves open.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from arcface_api.contract import pod_environment, reports, run_config
from arcface_api.errors import InvalidInput
from arcface_api.names import RELEASES
from arcface_api.resource import spec, status
from arcface_evaluator import progress
from arcface_evaluator.metrics import named, roc
from arcface_evaluator.protocols import template_pairs, templates
from arcface_evaluator.report import document, entries, figures, outcomes
from arcface_evaluator.sets.release import IjbRelease, open_ijb
from arcface_evaluator.sets.release_images import EmbeddingCache, ReleaseImages, cached_embeddings, open_images
from arcface_faces.checkpoint import checkpoint_folder
from arcface_faces.embedding.embedder import Embedder
from arcface_faces.embedding.vectors import Embeddings, Views, read_embeddings
from arcface_faces.pairs import groups
from arcface_faces.pairs.pair_set import PairSet, open_sets, set_files
from arcface_faces.pairs.protocol import PairScores, verify
from arcface_faces.progress import progress_bar
from arcface_faces.scores import Groups, Scores, Subjects

OpenNetwork = Callable[[Path, spec.Accelerator], AbstractContextManager[Embedder]]
"""Of the checkpoint in a folder, on the job's accelerator."""
Announce = Callable[[PairScores | Table], object]


@dataclass(frozen=True, slots=True)
class VerifiedTemplates:
    """What pairs of templates have shown."""

    choices: list[entries.ChoiceRates]
    """Rates under each choice of pooling, the usual one first."""
    scores: Scores
    """Of the pairs under the first choice; who is who follows from the genuine pairs."""


def count_pairs(sets: Iterable[PairSet]) -> list[reports.PairSetCount]:
    """Sizes of opened sets."""
    return [
        reports.PairSetCount(name=opened.name, pairs=len(opened.is_same), same=int(opened.is_same.sum()))
        for opened in sets
    ]


def from_images(sets: Sequence[PairSet], embedder: Embedder) -> Iterator[PairScores]:
    """Embed and judge each set, with a bar on a terminal."""
    for pair_set in sets:
        with progress_bar(pair_set.name, len(pair_set)) as advance:
            embeddings = embedder(pair_set, advance)
        yield verify(pair_set.name, embeddings, pair_set.is_same, _groups_of(pair_set))


def from_files(sets: Sequence[PairSet], files: Sequence[Path], views: Views = "separate") -> Iterator[PairScores]:
    """Judge each set by its file of embeddings."""
    if len(sets) != len(files):
        raise InvalidInput(f"{len(sets)} sets but {len(files)} files of embeddings: give one --embeddings for each set")
    for pair_set, file in zip(sets, files, strict=True):
        embeddings = read_embeddings(file, len(pair_set), views)
        yield verify(pair_set.name, embeddings, pair_set.is_same, _groups_of(pair_set))


def _groups_of(pair_set: PairSet) -> Groups | None:
    return groups.read_groups(pair_set.path, len(pair_set.is_same))


def pairs_document(
    found: Sequence[PairScores], checkpoint: Path | None, inputs: Sequence[Path]
) -> document.EvaluationFile:
    """The numbers of all sets; `inputs` are the files that they depend on."""
    rates = [roc.tar_at_far(each.scores) for each in found]
    measured = [figures.Measured.of(each.scores) for each in found]
    judged = list(zip(found, measured, rates, strict=True))
    return document.EvaluationFile(
        checkpoint=None if checkpoint is None else str(checkpoint),
        results=[entries.result_of(scores) for scores in found],
        details=[entries.details_of(scores) for scores in found],
        curves=[entries.curves_of(each.dataset, "cosine", of_scores) for each, of_scores, _ in judged],
        figures=[
            figures.figures_of(each.dataset, of_scores, at_fars, entries.intervals_of(at_fars, each.scores))
            for each, of_scores, at_fars in judged
        ],
        outcomes=[
            kept for each, _, at_fars in judged for kept in outcomes.outcomes_of(each.dataset, each.scores, at_fars)
        ],
        inputs=[
            document.InputFile.of(path)
            for given in inputs
            for path in dict.fromkeys((given, groups.groups_file(given)))
            if path == given or path.is_file()
        ],
    )


def hardest_of_pairs(pair_set: PairSet, found: PairScores) -> list[entries.HardPairs]:
    """The pairs of a set that the scores are most wrong about."""

    def show(number: int, score: str) -> entries.HardPair:
        return entries.HardPair(f"pair {number}: {score}", (pair_set.image(2 * number), pair_set.image(2 * number + 1)))

    return entries.hardest_pairs(found.dataset, found.scores, show)


def verify_templates(
    embeddings_NVD: Embeddings,
    confidence: NDArray[np.float64],
    members: templates.Templates,
    pairs: template_pairs.TemplatePairs,
    choices: Sequence[templates.PoolingChoice],
) -> VerifiedTemplates:
    """Rates under each choice; images are pooled in few passes, pairs sorted once."""
    plan = template_pairs.plan_pairs(pairs)
    is_same = pairs.is_same[plan.order]

    def judge(scores: NDArray[np.float64]) -> list[roc.TarAtFar]:
        return roc.tar_at_far(Scores(scores, is_same))

    rates, scores = template_pairs.judge_choices(embeddings_NVD, confidence, members, plan, choices, judge=judge)
    subjects = Subjects.linked(pairs.first, pairs.second, pairs.is_same)
    results = [entries.ChoiceRates(*each) for each in zip(choices, rates, strict=True)]
    return VerifiedTemplates(results, Scores(scores, pairs.is_same, subjects=subjects))


def embed_release(images: ReleaseImages, embedder: Embedder, cache: EmbeddingCache | None) -> Embeddings:
    """Embeddings (N, 2, D) of a release, kept ones where there are any: then the network is not even loaded."""

    def with_network() -> Embeddings:
        with progress_bar(images.name, len(images)) as advance:
            return embedder(images, advance)

    return cached_embeddings(cache, with_network)


def count_release(opened: IjbRelease) -> reports.IjbCount:
    """Size of a release whose images are all there; the first is decoded and aligned, as a sample."""
    open_images(opened).image(0)
    return reports.IjbCount(
        name=opened.name,
        images=len(opened.images),
        templates=len(opened.templates.ids),
        pairs=len(opened.pairs.is_same),
        same=int(opened.pairs.is_same.sum()),
    )


def verify_release(opened: IjbRelease, embeddings_NVD: Embeddings) -> VerifiedTemplates:
    """Rates under all choices that the embeddings allow, the usual one first."""
    if len(embeddings_NVD) != len(opened.images):
        raise InvalidInput(
            f"{opened.name}: {len(embeddings_NVD)} embeddings for {len(opened.images)} images; give a row for each"
        )
    has_flip = embeddings_NVD.shape[1] == 2
    choices = [choice for choice in templates.ALL_CHOICES if has_flip or not choice.flip]
    return verify_templates(embeddings_NVD, opened.scores, opened.templates, opened.pairs, choices)


def _ijb_result(opened: IjbRelease, usual: entries.ChoiceRates) -> status.IjbResult:
    """The entry of a release in the status of a job."""
    return status.IjbResult(dataset=opened.name, tar_at_far=entries.rates_of(opened.name, usual).nearest)


def ijb_document(
    opened: IjbRelease, found: VerifiedTemplates, checkpoint: Path | None, sources: Sequence[Path]
) -> document.EvaluationFile:
    """The numbers of a release."""
    usual, *others = found.choices
    intervals, measured = entries.intervals_of(usual.rates, found.scores), figures.Measured.of(found.scores)
    return document.EvaluationFile(
        checkpoint=None if checkpoint is None else str(checkpoint),
        ijb=[_ijb_result(opened, usual)],
        ijb_details=[
            entries.rates_of(opened.name, usual, intervals),
            *(entries.rates_of(opened.name, result) for result in others),
        ],
        curves=[entries.curves_of(opened.name, entries.choice_name(usual.choice), measured)],
        figures=[figures.figures_of(opened.name, measured, usual.rates, intervals)],
        outcomes=list(outcomes.outcomes_of(opened.name, found.scores, usual.rates)),
        protocol=document.IjbProtocol(),
        inputs=[document.InputFile.of(path) for path in [*sources, *opened.files]],
    )


def hardest_of_release(opened: IjbRelease, scores: Scores) -> list[entries.HardPairs]:
    """The pairs of templates that the scores are most wrong about, each template shown by its first image."""
    images, pairs, members = open_images(opened), opened.pairs, opened.templates

    def show(number: int, score: str) -> entries.HardPair:
        shown = int(pairs.first[number]), int(pairs.second[number])
        one, other = (images.image(int(np.argmax(members.template == template))) for template in shown)
        names = " and ".join(str(members.ids[template]) for template in shown)
        return entries.HardPair(f"templates {names}: {score}", (one, other))

    return entries.hardest_pairs(opened.name, scores, show)


def run_job(config_file: Path, termination_log: Path, open_network: OpenNetwork, announce: Announce) -> None:
    """Evaluate and leave a report, whatever happens; a failure is raised again after it is written."""
    report, count = reports.EvaluatorReport(), progress.ImageCount()
    try:
        config = run_config.RunConfig.read(config_file)
        identity = pod_environment.RankIdentity.from_environment()
        with progress.serving(identity.address, config.metrics_port, lambda: count.report().signed(identity)):
            for report in _evaluate_job(config, open_network, announce, count):  # noqa: B007 - the last one counts
                pass
    except Exception as error:
        report.model_copy(update={"failure": reports.failure_from(error)}).write(termination_log)
        raise
    report.write(termination_log)


def _evaluate_job(
    config: run_config.RunConfig, open_network: OpenNetwork, announce: Announce, count: progress.ImageCount
) -> Iterator[reports.EvaluatorReport]:
    """Evaluate the job's newest checkpoint on its sets; all sets are checked before the network is loaded.

    After each set comes a report with the results so far, so that a later one's failure does not take them along.
    """
    if config.evaluation is None:
        raise InvalidInput(f"job {config.job}: spec.evaluation is absent, there is nothing to evaluate")
    sets = open_sets(set_files(config.evaluation))
    opened = [open_ijb(folder) for folder in _release_folders(config.evaluation)]
    releases = [(release, open_images(release)) for release in opened]
    checkpoint = checkpoint_folder(Path(config.checkpoint.directory))
    so_far = reports.EvaluatorReport(checkpoint=config.checkpoint.path_of(checkpoint))
    asked: dict[str, float | None] = {gate.metric: None for gate in config.evaluation.gates}
    with open_network(checkpoint, config.ranks.accelerator) as opened_network:
        embedder = progress.CountingEmbedder(opened_network, count)
        for found in from_images(sets, embedder):
            announce(found)
            asked |= _figures_for_gates(found, asked)
            results, of_gates = [*so_far.results, entries.result_of(found)], reports.GateFigures.of(asked)
            so_far = so_far.model_copy(update={"results": results, "figures": of_gates if asked else None})
            yield so_far
        for release, images in releases:
            rates = _judge_release(release, images, embedder, announce)
            so_far = so_far.model_copy(update={"ijb": [*so_far.ijb, rates]})
            yield so_far


def _figures_for_gates(found: PairScores, metrics: Iterable[str]) -> dict[str, float]:
    """What a set says of the metrics that gates ask for."""
    beginning = f"{found.dataset}."
    named_figures = {
        metric: named.figure(found.scores, metric.removeprefix(beginning))
        for metric in metrics
        if metric.startswith(beginning)
    }
    return {metric: value for metric, value in named_figures.items() if value is not None}


def _judge_release(
    opened: IjbRelease, images: ReleaseImages, embedder: Embedder, announce: Announce
) -> status.IjbResult:
    """The rates of one release under the usual choice of pooling, all choices announced."""
    # Nothing is kept beside the checkpoint: it is mounted read-only, and an evaluator looks at it once.
    results = verify_release(opened, embed_release(images, embedder, cache=None))
    announce(entries.table_of(opened.name, results.choices))
    return _ijb_result(opened, results.choices[0])


def _release_folders(evaluation: run_config.RunEvaluation) -> list[Path]:
    """The folder of each IJB release, as its archive has them."""
    return [Path(evaluation.directory) / RELEASES / name for name in evaluation.ijb]
