"""IJB's protocol: images are pooled into templates, and pairs of templates get scores. Needs NumPy only.

A template's vector is a weighted sum of its images' vectors, an image weighing one by the images of its media in
the template. The protocol's choices (norm kept or not, detector's score or not, mirrored view or not) only change the
weights and the vector of an image, so that all of them are computed in one pass.

Fifteen million pairs of IJB-C touch each template hundreds of times. A matrix product of a block of first templates
with all second ones costs less than fetching two vectors for each pair, as long as the pairs are dense enough; where
they are not, vectors are fetched. Pairs are taken in the order of the table of products, which is read from end to end.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_faces.embedding.vectors import Embeddings, nonzero_norms

IMAGE_BLOCK = 128
"""Images that a thread holds in float64 at once: few enough for a core's cache, and few templates to multiply for."""
PAIR_BLOCK = 256
"""First templates whose products with all second ones are held at once."""
FETCHED = 8192
"""Pairs whose vectors are held at once where pairs are few."""
SPARSE = 0.01
"""Share of the possible pairs below which products of blocks are wasted."""


@dataclass(frozen=True, slots=True)
class Templates:
    """Who is who, by index: templates are counted in the order of their ids."""

    ids: NDArray[np.int64]
    """(T,) id of each template."""
    template: NDArray[np.int64]
    """(N,) index of each image's template."""
    media: NDArray[np.int64]
    """(N,) media id of each image; frames of one video share it."""


@dataclass(frozen=True, slots=True)
class PoolingChoice:
    """How the vector of an image enters its template."""

    keep_norm: bool = True
    """Whether an image's vector keeps its length, a sign of its quality."""
    detector_score: bool = True
    """Whether it is multiplied by the detector's confidence."""
    flip: bool = True
    """Whether the mirrored view is added."""


ALL_CHOICES = tuple(
    PoolingChoice(keep_norm, score, flip)
    for flip in (True, False)
    for keep_norm in (True, False)
    for score in (True, False)
)


def pool(
    embeddings_NVD: Embeddings, scores: NDArray[np.float64], templates: Templates, choices: Sequence[PoolingChoice]
) -> list[NDArray[np.float64]]:
    """Unit vectors (T, D) of the templates for each choice; a template of zeros stays zero.

    Args:
        embeddings_NVD: N images in V = 1 or 2 views.
        scores: (N,) the detector's confidence.
        templates: which image belongs where.
        choices: what to compute; flip needs two views.
    """
    shape = (len(templates.ids), embeddings_NVD.shape[2])
    pooled = [np.zeros(shape) for _ in choices]
    order = np.argsort(templates.template, kind="stable")
    shares = _media_shares(templates)

    def add(rows: slice) -> None:
        images = order[rows]
        members, place = np.unique(templates.template[images], return_inverse=True)
        views = embeddings_NVD[images]
        for flip in {choice.flip for choice in choices}:
            chosen = [number for number, choice in enumerate(choices) if choice.flip == flip]
            vectors = np.add.reduce(views, axis=1, dtype=np.float64) if flip else views[:, 0].astype(np.float64)
            # One product for all choices: a row of weights for each template of each.
            weights = np.zeros((len(chosen), len(members), len(images)))
            for row, number in enumerate(chosen):
                weights[row, place, np.arange(len(images))] = _image_weights(
                    choices[number], vectors, shares[images], scores[images]
                )
            sums = weights.reshape(-1, len(images)) @ vectors
            for row, number in enumerate(chosen):
                pooled[number][members] = sums[row * len(members) : (row + 1) * len(members)]

    # Blocks end where templates end, so that no two write to one template.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        list(threads.map(add, _blocks(templates.template[order])))
    return [sums * (1 / nonzero_norms(sums))[:, None] for sums in pooled]


def _image_weights(
    choice: PoolingChoice, vectors_ND: NDArray[np.float64], shares: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) how much each image's vector counts in its template."""
    weights = shares * scores if choice.detector_score else shares
    return weights if choice.keep_norm else weights * (1 / nonzero_norms(vectors_ND))


def _media_shares(templates: Templates) -> NDArray[np.float64]:
    """(N,) one by the number of images with the same template and media."""
    order = np.lexsort((templates.media, templates.template))
    template, media = templates.template[order], templates.media[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(template) != 0) | (np.diff(media) != 0)
    group = np.cumsum(is_first) - 1
    shares = np.empty(len(order))
    shares[order] = 1 / np.bincount(group)[group]
    return shares


def _blocks(sorted_templates: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of about IMAGE_BLOCK images that end where a template ends."""
    ends = np.append(np.flatnonzero(np.diff(sorted_templates)) + 1, len(sorted_templates))
    start = 0
    while start < len(sorted_templates):
        end = int(ends[np.searchsorted(ends, min(start + IMAGE_BLOCK, len(sorted_templates)))])
        yield slice(start, end)
        start = end


@dataclass(frozen=True, slots=True)
class TemplatePairs:
    """Comparisons (P,) of templates, by their indices."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    is_same: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PairPlan:
    """Pairs in the order of their places in the table of all products; made once for all choices of pooling."""

    order: NDArray[np.int64]
    """(P,) the pairs in the order of their cells."""
    cells: NDArray[np.int64]
    """(P,) of the ordered pairs: row times the number of columns, plus column."""
    first: NDArray[np.int32]
    """Distinct first templates, the rows."""
    second: NDArray[np.int32]
    """Distinct second templates, the columns."""


def plan_pairs(pairs: TemplatePairs) -> PairPlan:
    """Sort the pairs."""
    (first, row), (second, column) = _distinct(pairs.first), _distinct(pairs.second)
    cells = row.astype(np.int64) * len(second) + column
    order = _stable_order(row, len(first), _stable_order(column, len(second)))
    return PairPlan(order, cells[order], first, second)


def _distinct(indices: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct ones, rising, and the place of each among them."""
    is_there = np.zeros(int(indices.max()) + 1, np.bool_)
    is_there[indices] = True
    places = np.cumsum(is_there, dtype=np.int32) - np.int32(1)
    return np.flatnonzero(is_there).astype(np.int32), places[indices]


def _stable_order(numbers: NDArray[np.int32], end: int, order: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Stable order of numbers below `end`, refining an order; NumPy sorts those of 16 bits by their digits."""
    keys = numbers.astype(np.uint16) if end <= 1 << 16 else numbers
    if order is None:
        return np.argsort(keys, kind="stable")
    refined: NDArray[np.int64] = order[np.argsort(keys[order], kind="stable")]
    return refined


def score_pairs(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    """(P,) scores in the order of the pairs as they were given."""
    ordered = ordered_scores(templates_TD, plan)
    scores = np.empty_like(ordered)
    scores[plan.order] = ordered
    return scores


def ordered_scores(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    """(P,) scores in the order of the plan."""
    density = len(plan.order) / (len(plan.first) * len(plan.second))
    return _scores_by_fetching(templates_TD, plan) if density < SPARSE else _scores_by_blocks(templates_TD, plan)


def _scores_by_blocks(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    scores = np.empty(len(plan.order))
    columns = len(plan.second)
    second_DT = np.ascontiguousarray(templates_TD[plan.second].T)
    for start in range(0, len(plan.first), PAIR_BLOCK):
        products = templates_TD[plan.first[start : start + PAIR_BLOCK]] @ second_DT
        begin, end = np.searchsorted(plan.cells, [start * columns, (start + PAIR_BLOCK) * columns])
        np.take(products, plan.cells[begin:end] - start * columns, out=scores[begin:end], mode="clip")
    return scores


def _scores_by_fetching(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    scores = np.empty(len(plan.order))
    for start in range(0, len(plan.order), FETCHED):
        part = slice(start, start + FETCHED)
        row, column = np.divmod(plan.cells[part], len(plan.second))
        scores[part] = np.einsum("pd,pd->p", templates_TD[plan.first[row]], templates_TD[plan.second[column]])
    return scores
