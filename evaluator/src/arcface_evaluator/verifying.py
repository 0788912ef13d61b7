"""Verification one to one, of pair sets and of templates (IJB): from embeddings to what is told of them.

IJB 1:1 verification gives TAR at FAR for every choice that its protocol leaves open.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract import reports
from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import Accelerator
from arcface_evaluator.evaluation import EMBEDDINGS, Finding, SetTask
from arcface_evaluator.metrics import named, roc
from arcface_evaluator.protocols import template_pairs, templates
from arcface_evaluator.report import document, entries, figures, outcomes, provenance
from arcface_evaluator.sets import release, release_images
from arcface_faces.embedding import embedder, parts, vectors
from arcface_faces.images import LANDMARKS
from arcface_faces.pairs import pair_set as pair_sets, protocol
from arcface_faces.progress import progress_bar
from arcface_faces.scores import Scores, Subjects


class NamedImages(embedder.Images, Protocol):
    """The images of a set."""

    @property
    def name(self) -> str:
        """The set's."""


@dataclass(frozen=True, slots=True)
class EmbeddingsPlace:
    """Where embeddings of templates are kept."""

    folder: Path
    accelerator: Callable[[], Accelerator]
    """That the network computes on: float32 products are not the same on all."""


@dataclass(frozen=True, slots=True)
class VerifiedTemplates:
    """What pairs of templates have shown."""

    choices: list[entries.ChoiceRates]
    """Rates under each choice of pooling, the usual one first."""
    scores: Scores
    """Of the pairs under the first choice; who is who follows from the genuine pairs."""


def count_pairs(sets: Iterable[pair_sets.PairSet]) -> list[reports.PairSetCount]:
    """Sizes of opened sets."""
    return [
        reports.PairSetCount(name=opened.name, pairs=len(opened.is_same), same=int(opened.is_same.sum()))
        for opened in sets
    ]


def check_gates(
    metrics: Iterable[str], sets: Iterable[pair_sets.PairSet], releases: Iterable[release.IjbRelease]
) -> None:
    """InvalidInput names the first figure that none of the opened sets will have, by its full name."""
    known = [(opened.name, opened.is_same, opened.groups) for opened in sets]
    known += [(opened.name, opened.pairs.is_same, None) for opened in releases]
    for metric in metrics:
        obstacles = [
            named.obstacle(metric.removeprefix(f"{name}."), is_same, groups)
            for name, is_same, groups in known
            if metric.startswith(f"{name}.")
        ]
        if all(obstacles):
            why = next(filter(None, obstacles), "there is no such set")
            raise InvalidInput(f"gate {metric} can never be measured: {why}; correct the gate or the set")


def embed_all(
    images: NamedImages, network: Callable[[], embedder.Embedder], kept: parts.KeptParts | None = None
) -> vectors.Embeddings:
    """Embeddings (N, 2, D) of the images of a set, with a bar on a terminal."""
    with progress_bar(f"embedding {images.name}", len(images)) as advance:
        return parts.join_parts(parts.embed_parts(images, network, advance, kept), len(images))


def embed_templates(
    opened: release.TemplateSet,
    images: release_images.ReleaseImages,
    network: Callable[[], embedder.Embedder],
    source: Sequence[Path],
    place: EmbeddingsPlace | None,
) -> vectors.Embeddings:
    """Embeddings of a set of templates, which are kept in a place and taken from there.

    Those of anything else are told by a hash of all that they depend on, and go as soon as these are whole.

    Args:
        opened: its files.
        images: what is embedded.
        network: what embeds.
        source: the files that it is made of.
        place: None: nothing is kept.
    """
    if place is None:
        return embed_all(images, network)
    depends = provenance.hashed(opened.member_files, source, images)
    way = place.accelerator(), LANDMARKS, sorted(provenance.versions().items())
    facts = repr((*way, [file.sha256 for file in depends]))
    folder = place.folder / EMBEDDINGS / opened.name / hashlib.sha256(facts.encode()).hexdigest()[:32]
    kept = parts.KeptParts(folder)
    embeddings_NVD = embed_all(images, network, kept)
    kept.drop_siblings()
    return embeddings_NVD


def verify_pairs(pair_set: pair_sets.PairSet, embeddings_NVD: vectors.Embeddings) -> protocol.PairScores:
    """Judge a set, whose pairs may be of groups."""
    return protocol.verify(pair_set.name, embeddings_NVD, pair_set.is_same, pair_set.groups)


def pairs_task(
    pair_set: pair_sets.PairSet,
    source: Sequence[Path],
    embed: Callable[[], vectors.Embeddings],
    metrics: Sequence[str] = (),
) -> SetTask:
    """A pair set; `source` are the files that its embeddings depend on beside it."""

    def judge() -> Finding:
        found = verify_pairs(pair_set, embed())
        return Finding(
            shown="\n".join(entries.lines_of(found)),
            measure=partial(_pairs_numbers, found),
            hardest=partial(_hardest_of_pairs, pair_set, found),
            figure=partial(named.figure, found.scores, accuracy=found.folds.mean),
        )

    return SetTask(
        name=pair_set.name,
        images=len(pair_set),
        protocol=provenance.PairProtocol(),
        inputs=lambda: provenance.hashed([pair_set.path], [*pair_set.files, *source]),
        judge=judge,
        metrics=metrics,
    )


def _pairs_numbers(found: protocol.PairScores) -> document.Numbers:
    """The numbers of a set."""
    rates, measured = roc.tar_at_far(found.scores), figures.Measured.of(found.scores)
    bounds = entries.intervals_of(rates, measured)
    return document.Numbers(
        results=[entries.result_of(found)],
        details=[entries.details_of(found)],
        curves=[entries.curves_of(found.dataset, "cosine", measured)],
        figures=[figures.figures_of(found.dataset, measured, rates, bounds)],
        outcomes=list(outcomes.outcomes_of(found.dataset, found.scores, rates)),
    )


def _hardest_of_pairs(pair_set: pair_sets.PairSet, found: protocol.PairScores) -> list[entries.HardPairs]:
    """The pairs of a set that the scores are most wrong about."""

    def show(number: int, score: str) -> entries.HardPair:
        return entries.HardPair(f"pair {number}: {score}", (pair_set.image(2 * number), pair_set.image(2 * number + 1)))

    return entries.hardest_pairs(found.dataset, found.scores, show)


def verify_templates(
    embeddings_NVD: vectors.Embeddings,
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


def count_release(opened: release.IjbRelease) -> reports.IjbCount:
    """Size of a release whose images are all there; the first is decoded and aligned, as a sample."""
    release_images.open_images(opened).image(0)
    return reports.IjbCount(
        name=opened.name,
        images=len(opened.images),
        templates=len(opened.templates.ids),
        pairs=len(opened.pairs.is_same),
        same=int(opened.pairs.is_same.sum()),
    )


def verify_release(opened: release.IjbRelease, embeddings_NVD: vectors.Embeddings) -> VerifiedTemplates:
    """Rates under all choices that the embeddings allow, the usual one first."""
    if len(embeddings_NVD) != len(opened.images):
        raise InvalidInput(
            f"{opened.name}: {len(embeddings_NVD)} embeddings for {len(opened.images)} images; give a row for each"
        )
    has_flip = embeddings_NVD.shape[1] == 2
    choices = [choice for choice in templates.ALL_CHOICES if has_flip or not choice.flip]
    return verify_templates(embeddings_NVD, opened.scores, opened.templates, opened.pairs, choices)


def release_task(
    opened: release.IjbRelease,
    source: Sequence[Path],
    embed: Callable[[], vectors.Embeddings],
    images: release_images.ReleaseImages | None,
    metrics: Sequence[str] = (),
) -> SetTask:
    """A release.

    Args:
        opened: its files.
        source: the files that the embeddings depend on beside it.
        embed: makes them.
        images: what is embedded; None where the embeddings come from a file.
        metrics: that gates ask for.
    """

    def judge() -> Finding:
        found = verify_release(opened, embed())
        return Finding(
            shown=entries.table_of(opened.name, found.choices),
            measure=partial(_ijb_numbers, opened, found),
            hardest=partial(_hardest_of_release, opened, found.scores),
            figure=partial(named.figure, found.scores),
        )

    return SetTask(
        name=opened.name,
        images=len(opened.images),
        protocol=provenance.IjbProtocol(),
        inputs=lambda: provenance.hashed(opened.files, source, images),
        judge=judge,
        metrics=metrics,
    )


def _ijb_numbers(opened: release.IjbRelease, found: VerifiedTemplates) -> document.Numbers:
    """The numbers of a release."""
    usual, *others = found.choices
    measured = figures.Measured.of(found.scores)
    intervals = entries.intervals_of(usual.rates, measured)
    rates = entries.rates_of(opened.name, usual, intervals)
    return document.Numbers(
        ijb=[document.IjbTar(dataset=opened.name, tar_at_far=rates.nearest)],
        ijb_details=[rates, *(entries.rates_of(opened.name, result) for result in others)],
        curves=[entries.curves_of(opened.name, entries.choice_name(usual.choice), measured)],
        figures=[figures.figures_of(opened.name, measured, usual.rates, intervals)],
        outcomes=list(outcomes.outcomes_of(opened.name, found.scores, usual.rates)),
    )


def _hardest_of_release(opened: release.IjbRelease, scores: Scores) -> list[entries.HardPairs]:
    """The pairs of templates that the scores are most wrong about, each template shown by its first image.

    vectors.Embeddings may have come without the images: then there are none.
    """
    if not (opened.folder / release.IMAGES_FOLDER).is_dir():
        return []
    images, pairs, members = release_images.open_images(opened), opened.pairs, opened.templates

    def show(number: int, score: str) -> entries.HardPair:
        shown = int(pairs.first[number]), int(pairs.second[number])
        one, other = (images.image(int(np.argmax(members.template == template))) for template in shown)
        names = " and ".join(str(members.ids[template]) for template in shown)
        return entries.HardPair(f"templates {names}: {score}", (one, other))

    return entries.hardest_pairs(opened.name, scores, show)
