"""How the threads, ranks or pods on one machine share its cores."""

import os
from collections.abc import Sequence
from itertools import islice
from math import inf

MOST_THREADS = 8
"""That compute on arrays side by side: each holds some MiB, and more of them would wait for memory, not for cores."""


def thread_count(most: int = MOST_THREADS) -> int:
    """A thread for each core that this process may use, within reason."""
    return min(len(os.sched_getaffinity(0)), most)


def core_share(cores: set[int], shares: int, number: int) -> set[int]:
    """Cores of one of several ranks or pods; all of them where there are fewer cores than shares.

    MindSpore's threads spin while they wait, so ranks that share cores slow each other down far beyond their share.
    """
    if len(cores) < shares:
        return cores
    ordered = sorted(cores)
    return set(ordered[number * len(ordered) // shares : (number + 1) * len(ordered) // shares])


def core_shares_near(cores: set[int], near: Sequence[frozenset[int]]) -> list[set[int]]:
    """Cores of each rank: equal shares, of the cores near its card as far as these go, then of what is left over.

    What is left over is dealt in ascending order to ranks in the order of their near cores: on hosts whose cards sit at
    every other NUMA node, a rank gets cores of the node beside its own.

    Args:
        cores: those that all ranks together may use.
        near: for each rank the cores near its card; none where that is not known.
    """
    plain = [core_share(cores, len(near), number) for number in range(len(near))]
    if len(cores) < len(near):
        return plain
    own = [_near_share(cores, near, number, len(plain[number])) for number in range(len(near))]
    rest = iter(sorted(cores.difference(*own)))
    for number in sorted(range(len(near)), key=lambda number: min(own[number], default=inf)):
        missing = len(plain[number]) - len(own[number])
        own[number].update(islice(rest, missing))
    return own


def _near_share(cores: set[int], near: Sequence[frozenset[int]], number: int, most: int) -> set[int]:
    """A rank's part, at most `most`, of those cores that its card and maybe others are near to."""
    nearest = cores & near[number]
    sharers = [other for other, theirs in enumerate(near) if theirs == near[number]]
    if len(nearest) < len(sharers):
        return set()
    return set(sorted(core_share(nearest, len(sharers), sharers.index(number)))[:most])
