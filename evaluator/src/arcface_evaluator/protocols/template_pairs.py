"""Pairs of templates get scores: IJB's 1:1 protocol, under each choice of pooling. Needs NumPy only.

Fifteen million pairs of IJB-C touch each template hundreds of times. A matrix product of a block of first templates
with all second ones costs less than fetching two vectors for each pair, as long as the pairs are dense enough; where
they are not, vectors are fetched. Pairs are taken in the order of the table of products, which is read from end to end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from arcface_evaluator.protocols import templates
from arcface_faces.embedding.vectors import Embeddings

POOLED = 2
"""Choices whose templates are held at once: at IJB-C's size 90 MiB each, as much as the scores of all pairs."""
PAIR_BLOCK = 256
"""First templates whose products with all second ones are held at once."""
FETCHED = 8192
"""Pairs whose vectors are held at once where pairs are few."""
SPARSE = 0.01
"""Share of the possible pairs below which products of blocks are wasted."""
Places = NDArray[np.signedinteger[Any]]
"""int32 where that is enough, else int64."""
Judgement = TypeVar("Judgement")


@dataclass(frozen=True, slots=True)
class TemplatePairs:
    """Comparisons (P,) of templates, by their indices."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    is_same: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PairPlan:
    """Pairs in the order of their places in the table of all products; made once for all choices of pooling."""

    order: Places
    """(P,) the pairs in the order of their cells."""
    cells: Places
    """(P,) of the ordered pairs: row times the number of columns, plus column."""
    first: NDArray[np.int32]
    """Distinct first templates, the rows."""
    second: NDArray[np.int32]
    """Distinct second templates, the columns."""


def plan_pairs(pairs: TemplatePairs) -> PairPlan:
    """Sort the pairs."""
    (first, row), (second, column) = _distinct(pairs.first), _distinct(pairs.second)
    order = _stable_order(row, len(first), _stable_order(column, len(second)))
    cells = np.multiply(row, len(second), dtype=_places(len(first) * len(second)))
    cells += column
    return PairPlan(order.astype(_places(len(order))), cells[order], first, second)


def _places(count: int) -> type[np.int32] | type[np.int64]:
    """What numbers that many places."""
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64


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


def judge_choices(
    embeddings_NVD: Embeddings,
    confidence: NDArray[np.float64],
    members: templates.Templates,
    plan: PairPlan,
    choices: Sequence[templates.PoolingChoice],
    *,
    judge: Callable[[NDArray[np.float64]], Judgement],
) -> tuple[list[Judgement], NDArray[np.float64]]:
    """What is made of the scores under each choice, and the scores (P,) of the first in the order of the pairs.

    Nothing is pooled or scored twice, and only the scores of one choice are held at once.

    Args:
        embeddings_NVD: N images in V = 1 or 2 views.
        confidence: (N,) the detector's.
        members: which image belongs where.
        plan: the pairs.
        choices: how to pool.
        judge: takes scores (P,) in the order of the plan.
    """
    judgements: list[Judgement] = []
    scores = np.empty(0)
    for end in range(len(choices), 0, -POOLED):  # the first one last, whose scores remain
        pooled = templates.pool(embeddings_NVD, confidence, members, choices[max(end - POOLED, 0) : end])
        while pooled:
            del scores  # before the next ones are made
            scores = ordered_scores(pooled.pop(), plan)
            judgements.insert(0, judge(scores))
    unordered = np.empty_like(scores)
    unordered[plan.order] = scores
    return judgements, unordered


def ordered_scores(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    """(P,) scores in the order of the plan."""
    density = len(plan.order) / (len(plan.first) * len(plan.second))
    return _scores_by_fetching(templates_TD, plan) if density < SPARSE else _scores_by_blocks(templates_TD, plan)


def _scores_by_blocks(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    scores = np.empty(len(plan.order))
    second_DT = np.ascontiguousarray(templates_TD[plan.second].T)
    rows, columns = len(plan.first), len(plan.second)
    starts = np.arange(0, rows, PAIR_BLOCK)
    # In the type of the cells, which would be converted otherwise; the last end needs no search.
    ends = [*np.searchsorted(plan.cells, (starts[1:] * columns).astype(plan.cells.dtype)), len(scores)]
    begin = 0
    for start, end in zip(starts, ends, strict=True):
        products = templates_TD[plan.first[start : start + PAIR_BLOCK]] @ second_DT
        places = np.subtract(plan.cells[begin:end], start * columns, dtype=np.int64)
        np.take(products, places, out=scores[begin:end], mode="clip")
        begin = end
    return scores


def _scores_by_fetching(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    scores = np.empty(len(plan.order))
    for start in range(0, len(plan.order), FETCHED):
        part = slice(start, start + FETCHED)
        row, column = np.divmod(plan.cells[part], len(plan.second))
        scores[part] = np.einsum("pd,pd->p", templates_TD[plan.first[row]], templates_TD[plan.second[column]])
    return scores
