"""Scores of template pairs: products of unit vectors, taken from products of whole blocks.

Fifteen million pairs of IJB-C touch each template hundreds of times. A matrix product of a block of first templates
with all second ones costs less than fetching two vectors for each pair, as long as the pairs are dense enough; where
they are not, vectors are fetched in the order of the first template.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_evaluator.template_files import TemplatePairs

BLOCK = 256
"""First templates whose products with all second ones are held at once."""
FETCHED = 8192
"""Pairs whose vectors are held at once where pairs are few."""
SPARSE = 0.01
"""Share of the possible pairs below which products of blocks are wasted."""


@dataclass(frozen=True, slots=True)
class PairPlan:
    """Pairs in the order of their first template; made once for all protocols."""

    order: NDArray[np.int64]
    """(P,) the pairs by their first template."""
    first: NDArray[np.int32]
    """Distinct first templates."""
    second: NDArray[np.int32]
    """Distinct second templates."""
    row: NDArray[np.int32]
    """(P,) of the ordered pairs: index into `first`."""
    column: NDArray[np.int32]
    """(P,) of the ordered pairs: index into `second`."""


def plan_pairs(pairs: TemplatePairs) -> PairPlan:
    """Sort the pairs."""
    first, row = np.unique(pairs.first, return_inverse=True)
    second, column = np.unique(pairs.second, return_inverse=True)
    order = np.argsort(row, kind="stable")
    return PairPlan(order, first, second, row[order].astype(np.int32), column[order].astype(np.int32))


def score_pairs(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    """(P,) scores in the order of the pairs as they were given."""
    density = len(plan.order) / (len(plan.first) * len(plan.second))
    ordered = _fetched(templates_TD, plan) if density < SPARSE else _multiplied(templates_TD, plan)
    scores = np.empty_like(ordered)
    scores[plan.order] = ordered
    return scores


def _multiplied(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    scores = np.empty(len(plan.order))
    second_DT = np.ascontiguousarray(templates_TD[plan.second].T)
    for start in range(0, len(plan.first), BLOCK):
        products = templates_TD[plan.first[start : start + BLOCK]] @ second_DT
        begin, end = np.searchsorted(plan.row, [start, start + BLOCK])
        scores[begin:end] = products[plan.row[begin:end] - start, plan.column[begin:end]]
    return scores


def _fetched(templates_TD: NDArray[np.float64], plan: PairPlan) -> NDArray[np.float64]:
    scores = np.empty(len(plan.order))
    for start in range(0, len(plan.order), FETCHED):
        part = slice(start, start + FETCHED)
        first, second = plan.first[plan.row[part]], plan.second[plan.column[part]]
        scores[part] = np.einsum("pd,pd->p", templates_TD[first], templates_TD[second])
    return scores
