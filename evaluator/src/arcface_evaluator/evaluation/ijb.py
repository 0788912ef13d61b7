"""IJB 1:1 verification: from embeddings of images to TAR@FAR, for every choice that the protocol leaves open."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.reports import IjbCount
from arcface_api.errors import InvalidInput
from arcface_api.resource.status import IjbResult
from arcface_evaluator.evaluation.embedding_cache import EmbeddingCache, cached_embeddings
from arcface_evaluator.metrics.roc import tar_at_far
from arcface_evaluator.protocols.pooling import ALL_CHOICES, PoolingChoice, Templates, pool
from arcface_evaluator.protocols.template_scores import TemplatePairs, ordered_scores, plan_pairs, score_pairs
from arcface_evaluator.report import document, entries
from arcface_evaluator.sets.release import IjbRelease
from arcface_evaluator.sets.release_images import ReleaseImages, open_images
from arcface_faces.embedding.embedder import Embedder
from arcface_faces.embedding.vectors import Embeddings
from arcface_faces.progress import progress_bar


def verify_templates(
    embeddings_NVD: Embeddings,
    scores: NDArray[np.float64],
    templates: Templates,
    pairs: TemplatePairs,
    choices: Sequence[PoolingChoice],
) -> list[entries.ChoiceRates]:
    """Rates under each choice; images are pooled in one pass, pairs sorted once."""
    pooled = pool(embeddings_NVD, scores, templates, choices)
    plan = plan_pairs(pairs)
    is_same = pairs.is_same[plan.order]
    return [
        entries.ChoiceRates(choice, tar_at_far(ordered_scores(vectors, plan), is_same))
        for choice, vectors in zip(choices, pooled, strict=True)
    ]


def scores_of(opened: IjbRelease, embeddings_NVD: Embeddings, choice: PoolingChoice) -> NDArray[np.float64]:
    """(P,) scores of the release's pairs under one choice."""
    (vectors,) = pool(embeddings_NVD, opened.scores, opened.templates, [choice])
    return score_pairs(vectors, plan_pairs(opened.pairs))


def embed_release(images: ReleaseImages, embedder: Embedder, cache: EmbeddingCache | None) -> Embeddings:
    """Embeddings (N, 2, D) of a release, kept ones where there are any: then the network is not even loaded."""

    def with_network() -> Embeddings:
        with progress_bar(images.name, len(images)) as advance:
            return embedder(images, advance)

    return cached_embeddings(cache, with_network)


def count_release(opened: IjbRelease) -> IjbCount:
    """Size of a release whose images are all there; the first is decoded and aligned, as a sample."""
    open_images(opened).image(0)
    return IjbCount(
        name=opened.name,
        images=len(opened.images),
        templates=len(opened.templates.ids),
        pairs=len(opened.pairs.is_same),
        same=int(opened.pairs.is_same.sum()),
    )


def verify_release(opened: IjbRelease, embeddings_NVD: Embeddings) -> list[entries.ChoiceRates]:
    """Rates under all choices that the embeddings allow, the usual one first."""
    if len(embeddings_NVD) != len(opened.images):
        raise InvalidInput(
            f"{opened.name}: {len(embeddings_NVD)} embeddings for {len(opened.images)} images; give a row for each"
        )
    has_flip = embeddings_NVD.shape[1] == 2
    choices = [choice for choice in ALL_CHOICES if has_flip or not choice.flip]
    return verify_templates(embeddings_NVD, opened.scores, opened.templates, opened.pairs, choices)


def ijb_result(opened: IjbRelease, usual: entries.ChoiceRates) -> IjbResult:
    """The entry of a release in the status of a job."""
    return IjbResult(dataset=opened.name, tar_at_far=entries.rates_of(opened.name, usual).nearest)


def ijb_document(
    opened: IjbRelease,
    results: Sequence[entries.ChoiceRates],
    scores: NDArray[np.float64],
    checkpoint: Path | None,
    source: Path,
) -> document.EvaluationFile:
    """The numbers of a release, whose first result is that of the usual choice, as are the pairs' scores (P,)."""
    usual, *others = results
    intervals = entries.intervals_of(usual, scores, opened.pairs)
    return document.EvaluationFile(
        checkpoint=None if checkpoint is None else str(checkpoint),
        ijb=[ijb_result(opened, usual)],
        ijb_details=[
            entries.rates_of(opened.name, usual, intervals),
            *(entries.rates_of(opened.name, result) for result in others),
        ],
        curves=[entries.curves_of(opened.name, entries.choice_name(usual.choice), scores, opened.pairs.is_same)],
        protocol=document.IjbProtocol(),
        inputs=[document.InputFile.of(path) for path in [source, *opened.files]],
    )


def hardest_of_release(opened: IjbRelease, scores: NDArray[np.float64]) -> list[entries.HardPairs]:
    """The pairs of templates that the scores (P,) are most wrong about, each template shown by its first image."""
    images, pairs, templates = open_images(opened), opened.pairs, opened.templates

    def show(number: int, score: str) -> entries.HardPair:
        shown = int(pairs.first[number]), int(pairs.second[number])
        one, other = (images.image(int(np.argmax(templates.template == template))) for template in shown)
        names = " and ".join(str(templates.ids[template]) for template in shown)
        return entries.HardPair(f"templates {names}: {score}", (one, other))

    return entries.hardest_pairs(opened.name, scores, pairs.is_same, show)
