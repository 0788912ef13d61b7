"""IJB 1:1 verification: from embeddings of images to TAR@FAR, for every choice that the protocol leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.reports import IjbCount
from arcface_api.errors import InvalidInput
from arcface_evaluator.evaluation.embedding_cache import EmbeddingCache, embedded
from arcface_evaluator.metrics.roc import TarAtFar, tar_at_far
from arcface_evaluator.protocols.pooling import ALL_PROTOCOLS, Protocol, pool
from arcface_evaluator.protocols.template_scores import ordered_scores, plan_pairs, score_pairs
from arcface_evaluator.sets.release import IjbSet, TemplatePairs, Templates
from arcface_evaluator.sets.release_images import TemplateImages, open_images
from arcface_faces.embedding.embedder import Embedder
from arcface_faces.embedding.vectors import Embeddings
from arcface_faces.progress import progress_bar


@dataclass(frozen=True, slots=True)
class ProtocolResult:
    """Rates under one protocol."""

    protocol: Protocol
    rates: list[TarAtFar]


def verify_templates(
    embeddings_NVD: Embeddings,
    scores: NDArray[np.float64],
    templates: Templates,
    pairs: TemplatePairs,
    protocols: Sequence[Protocol],
) -> list[ProtocolResult]:
    """Rates under each protocol; images are pooled in one pass, pairs sorted once."""
    pooled = pool(embeddings_NVD, scores, templates, protocols)
    plan = plan_pairs(pairs)
    is_same = pairs.is_same[plan.order]
    return [
        ProtocolResult(protocol, tar_at_far(ordered_scores(vectors, plan), is_same))
        for protocol, vectors in zip(protocols, pooled, strict=True)
    ]


def usual_scores(opened: IjbSet, embeddings_NVD: Embeddings, protocol: Protocol) -> NDArray[np.float64]:
    """(P,) scores of the release's pairs under one protocol."""
    (vectors,) = pool(embeddings_NVD, opened.scores, opened.templates, [protocol])
    return score_pairs(vectors, plan_pairs(opened.pairs))


def embed_set(images: TemplateImages, embedder: Embedder, cache: EmbeddingCache | None) -> Embeddings:
    """Embeddings (N, 2, D) of a release, kept ones where there are any: then the network is not even loaded."""

    def with_network() -> Embeddings:
        with progress_bar(images.name, len(images)) as advance:
            return embedder(images, advance)

    return embedded(cache, with_network)


def count_set(opened: IjbSet) -> IjbCount:
    """Size of a release whose images are all there; the first is decoded and aligned, as a sample."""
    open_images(opened).image(0)
    return IjbCount(
        name=opened.name,
        images=len(opened.images),
        templates=len(opened.templates.ids),
        pairs=len(opened.pairs.is_same),
        same=int(opened.pairs.is_same.sum()),
    )


def verify_set(opened: IjbSet, embeddings_NVD: Embeddings) -> list[ProtocolResult]:
    """All protocols that the embeddings allow, the usual one first."""
    if len(embeddings_NVD) != len(opened.images):
        raise InvalidInput(
            f"{opened.name}: {len(embeddings_NVD)} embeddings for {len(opened.images)} images; give a row for each"
        )
    has_flip = embeddings_NVD.shape[1] == 2
    protocols = [protocol for protocol in ALL_PROTOCOLS if has_flip or not protocol.flip]
    return verify_templates(embeddings_NVD, opened.scores, opened.templates, opened.pairs, protocols)
