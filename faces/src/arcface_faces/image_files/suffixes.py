"""Which files of a folder are taken for images by their names, and what is told of the others."""

import logging
from collections import Counter
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of what is decoded (`images.DECODED`), tried in this order where a list leaves them out; their bytes decide."""
MOST_TOLD = 5
"""Kinds of other files."""
LOG = logging.getLogger(__name__)


def is_image(suffix: str) -> bool:
    """Whether a file whose name ends so is taken for one."""
    return suffix.lower() in SUFFIXES


def warn_of_others(folder: Path, others: Counter[str]) -> None:
    """A line in the log that names other files by the ends of their names; none where there are none."""
    if others:
        LOG.warning("%s: %s", folder, others_told(others))


def others_told(others: Counter[str]) -> str:
    """What is read, and how many files of which kinds are not, the most frequent first."""
    kinds = [f"{count} {suffix or 'without an end'}" for suffix, count in others.most_common(MOST_TOLD)]
    rest = others.total() - sum(count for _, count in others.most_common(MOST_TOLD))
    left_out = [*kinds, *([f"{rest} others"] if rest else [])]
    read = f"images are {', '.join(SUFFIXES)}"
    return f"left out: {', '.join(left_out)}; {read}: convert those of other kinds" if left_out else read
