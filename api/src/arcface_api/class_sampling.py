"""How many classes a step compares with where it draws a share of them: Partial FC (An et al. 2022, arXiv 2203.15565).

A class is drawn where the hash of (seed, step, class) is below the share, whatever becomes of the others. So what is
drawn does not depend on how classes are spread over ranks, and its number scatters a little around the share. A graph
needs a fixed number of rows: `row_capacity` is one that the scatter does not reach. InsightFace draws so many on each
rank that, with the batch's own classes, they are exactly the share; then another number of ranks draws others.
"""

import math

RARITY = 40.0
"""A draw exceeds its bound with a probability of at most exp(-RARITY) = 4e-18."""


def draw_capacity(classes: int, rate: float) -> int:
    """Classes of a rank's that are drawn at most, by Bernstein's inequality for a sum of independent draws."""
    variance = classes * rate * (1 - rate)
    excess = RARITY / 3 + math.sqrt(RARITY * RARITY / 9 + 2 * RARITY * variance)
    return min(classes, math.ceil(classes * rate + excess))


def row_capacity(classes: int, rate: float, images: int) -> int:
    """Centres of a rank that a step compares with at most.

    Args:
        classes: of the rank.
        rate: share of the classes that is drawn.
        images: of the joined batch, whose own classes are kept besides, all on one rank at worst.
    """
    return min(classes, draw_capacity(classes, rate) + images)


def compared_classes(classes: int, rate: float, images: int) -> int:
    """Of all ranks, on average, where every identity is as likely in the batch; two or more.

    Args:
        classes: of all ranks.
        rate: share of the classes that is drawn.
        images: of the joined batch.
    """
    absent = math.exp(images * math.log1p(-1 / classes))
    return max(2, round(classes * (1 - (1 - rate) * absent)))
