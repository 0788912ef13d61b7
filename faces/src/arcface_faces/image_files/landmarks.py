"""Lists of landmarks: `image x1 y1 ... x5 y5`, with or without a score behind them, as detectors write them.

The points are eyes, nose and corners of the mouth, the eye and the corner on the left side of the image first.
"""

from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces import delimited

NUMBERS = 10
"""x and y of five points."""
EXPECTED = "a line is 'image x1 y1 ... x5 y5', with a score behind it or without"


@dataclass(frozen=True, slots=True)
class LandmarkList:
    """Five points for each image of a list."""

    path: Path
    rows: dict[str, int]
    """Row by name; names without suffix stand for all that they may belong to."""
    points: NDArray[np.float64]
    """(N, 5, 2) x and y in pixels."""
    lines: NDArray[np.int64]
    """(N,) where each stands."""

    def of(self, name: str) -> tuple[NDArray[np.float64], str]:
        """Points (5, 2) of an image, and their place for messages; InvalidInput where the list has none."""
        row = self.rows.get(name, self.rows.get(str(PurePath(name).with_suffix(""))))
        if row is None:
            raise InvalidInput(f"{self.path}: has no landmarks of {name}: add a line for it")
        return self.points[row], f"{self.path} line {self.lines[row]}"


def read_landmarks(path: Path) -> LandmarkList:
    """Read a list, whatever separates its fields, with a header or without.

    Raises:
        InvalidInput: naming the first line that has no landmarks, or those of an image that has some already.
    """
    rows: dict[str, int] = {}
    points: list[list[float]] = []
    lines: list[int] = []
    for number, row in enumerate(delimited.rows(path, delimited.read_lines(path, "correct --landmarks"), _fits)):
        found = _numbers(row.fields)
        if found is None and number == 0 and len(row.fields) in {1 + NUMBERS, 2 + NUMBERS}:
            continue  # the header
        if found is None:
            raise InvalidInput(f"{path} line {row.line}: {row.shown()}; {EXPECTED}")
        name = str(PurePath(row.fields[0]))
        if name in rows:
            raise InvalidInput(f"{path} line {row.line}: {name} has landmarks in line {lines[rows[name]]} already")
        rows[name] = len(points)
        points.append(found)
        lines.append(row.line)
    if not points:
        raise InvalidInput(f"{path}: holds no landmarks; {EXPECTED}")
    return LandmarkList(path, rows, np.array(points).reshape(-1, 5, 2), np.array(lines))


def _fits(fields: list[str]) -> bool:
    return len(fields) in {1 + NUMBERS, 2 + NUMBERS}


def _numbers(fields: list[str]) -> list[float] | None:
    """The ten numbers; None where a line holds something else."""
    if not _fits(fields):
        return None
    try:
        numbers = [float(field) for field in fields[1:]]
    except ValueError:
        return None
    return numbers[:NUMBERS] if np.isfinite(numbers).all() else None
