"""Scores of template pairs: products of unit vectors, taken from products of whole blocks.

Fifteen million pairs of IJB-C touch each template hundreds of times. A matrix product of a block of first templates
with all second ones costs less than fetching two vectors for each pair, as long as the pairs are dense enough; where
they are not, vectors are fetched. Pairs are taken in the order of the table of products, which is read from end to end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""First templates whose products with all second ones are held at once."""
FETCHED = 8192
"""Pairs whose vectors are held at once where pairs are few."""
SPARSE = 0.01
"""Share of the possible pairs below which products of blocks are wasted."""


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
    for start in range(0, len(plan.first), BLOCK):
        products = templates_TD[plan.first[start : start + BLOCK]] @ second_DT
        begin, end = np.searchsorted(plan.cells, [start * columns, (start + BLOCK) * columns])
        np.take(products, plan.cells[begin:end] - start * columns, out=scores[begin:end], mode="clip")
    return scores


def _scores_by_fetching(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    scores = np.empty(len(plan.order))
    for start in range(0, len(plan.order), FETCHED):
        part = slice(start, start + FETCHED)
        row, column = np.divmod(plan.cells[part], len(plan.second))
        scores[part] = np.einsum("pd,pd->p", templates_TD[plan.first[row]], templates_TD[plan.second[column]])
    return scores
