"""IJB 1:1 verification: from embeddings of pictures to TAR@FAR, for every choice that the protocol leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_evaluator.pair_protocol import Embeddings
from arcface_evaluator.roc import TarAtFar, tar_at_far
from arcface_evaluator.template_files import IjbSet, TemplatePairs, Templates
from arcface_evaluator.template_pooling import ALL_PROTOCOLS, Protocol, pool
from arcface_evaluator.template_scores import plan_pairs, score_pairs


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
    """Rates under each protocol; pictures are pooled in one pass, pairs sorted once."""
    pooled = pool(embeddings_NVD, scores, templates, protocols)
    plan = plan_pairs(pairs)
    return [
        ProtocolResult(protocol, tar_at_far(score_pairs(vectors, plan), pairs.is_same))
        for protocol, vectors in zip(protocols, pooled, strict=True)
    ]


def verify_set(opened: IjbSet, embeddings_NVD: Embeddings) -> list[ProtocolResult]:
    """All protocols that the embeddings allow, the usual one first."""
    if len(embeddings_NVD) != len(opened.pictures):
        raise InvalidInput(
            f"{opened.name}: {len(embeddings_NVD)} embeddings for {len(opened.pictures)} pictures; give a row for each"
        )
    has_flip = embeddings_NVD.shape[1] == 2
    protocols = [protocol for protocol in ALL_PROTOCOLS if has_flip or not protocol.flip]
    return verify_templates(embeddings_NVD, opened.scores, opened.templates, opened.pairs, protocols)
