"""The text files of an IJB release: which images make up which template, and which templates are compared.

    meta/ijbc_face_tid_mid.txt          image template media
    meta/ijbc_name_5pts_score.txt       image x1 y1 ... x5 y5 score
    meta/ijbc_template_pair_label.txt   template template 1-or-0
    loose_crop/                         the images

Row i of the first two files is about the same image; that is checked here, and by nobody else.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_evaluator.protocols.template_pairs import TemplatePairs
from arcface_evaluator.protocols.templates import Templates

IjbName = Literal["IJBB", "IJBC"]
NAMES: tuple[IjbName, ...] = ("IJBB", "IJBC")
FILES = ("face_tid_mid", "name_5pts_score", "template_pair_label")
POINTS = 5
SIZE_LIMIT = 1 << 31
WHOLE_NUMBERS = re.compile(rb"\s*\d{1,18}\s+\d{1,18}\s+\d{1,18}\s*")
LONGEST_SHOWN = 80
"""Bytes of a line that a message shows."""
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IjbRelease:
    """One opened release."""

    name: IjbName
    folder: Path
    members_file: Path
    """Which image belongs to which template and media."""
    marks_file: Path
    """Landmarks and detector's scores."""
    pairs_file: Path
    """Comparisons."""
    images: list[str]
    """(N,) file names below loose_crop."""
    points: NDArray[np.float64]
    """(N, 5, 2) landmarks in pixels."""
    scores: NDArray[np.float64]
    """(N,) detector's confidence."""
    templates: Templates
    pairs: TemplatePairs

    @property
    def files(self) -> tuple[Path, ...]:
        """What was read."""
        return self.members_file, self.marks_file, self.pairs_file


def open_ijb(folder: Path) -> IjbRelease:
    """Read and check the three files of a release, whose name is that of its folder.

    Raises:
        InvalidInput: where a file is missing, malformed, or does not agree with the others.
    """
    found = folder.resolve().name
    name = next((known for known in NAMES if known == found), None)
    if name is None:
        raise InvalidInput(f"{folder}: is called {found!r}; --root is the folder IJBB or IJBC of the release")
    members_file, marks_file, pairs_file = (folder / "meta" / f"{name.lower()}_{rest}.txt" for rest in FILES)
    members, marks = _columns(members_file, 3), _columns(marks_file, 2 + 2 * POINTS)
    _check_rows_agree(members_file, marks_file, members[0], marks[0])
    ids, index = np.unique(_integers(members_file, members[1], "template"), return_inverse=True)
    numbers = _floats(marks_file, marks[1:])
    return IjbRelease(
        name=name,
        folder=folder,
        members_file=members_file,
        marks_file=marks_file,
        pairs_file=pairs_file,
        images=members[0],
        points=np.stack(numbers[:-1], axis=1).reshape(-1, POINTS, 2),
        scores=numbers[-1],
        templates=Templates(ids, index, _integers(members_file, members[2], "media")),
        pairs=_read_pairs(pairs_file, ids),
    )


def _read_pairs(path: Path, ids: Ids) -> TemplatePairs:
    """Comparisons, fifteen million of them in IJB-C: parsed as one array of numbers.

    Raises:
        InvalidInput: naming the first line with a template that no image belongs to, or a label but 0 and 1.
    """
    first, second, label = _numbers(path).T
    for column in (first, second):
        places = np.searchsorted(ids, column)
        unknown = np.flatnonzero((places == len(ids)) | (ids[np.minimum(places, len(ids) - 1)] != column))
        if len(unknown):
            line = int(unknown[0])
            raise InvalidInput(f"{path} line {line + 1}: template {column[line]} has no images; check the two files")
    odd = np.flatnonzero((label != 0) & (label != 1))
    if len(odd):
        raise InvalidInput(f"{path} line {odd[0] + 1}: label {label[odd[0]]}; it must be 0 or 1")
    same = int(label.sum())
    if same in {0, len(label)}:
        raise InvalidInput(f"{path}: {same} pairs are of one person and {len(label) - same} of two; there must be both")
    return TemplatePairs(
        np.searchsorted(ids, first).astype(np.int32), np.searchsorted(ids, second).astype(np.int32), label == 1
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Reads a file of a release inside of this context; its size is looked at before."""
    with explained(path, "cannot be read", "--root is the folder with meta/"):
        size = path.stat().st_size
        if size > SIZE_LIMIT:
            raise InvalidInput(f"{path}: {size} bytes; a file of a release has less than {SIZE_LIMIT}")
        yield


def _read(path: Path) -> str:
    try:
        with _reading(path):
            return path.read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: byte {error.start} is no ASCII text; take the file from the release") from None


def _columns(path: Path, count: int) -> list[list[str]]:
    rows = [line.split() for line in _read(path).rstrip().splitlines()]
    for number, row in enumerate(rows, start=1):
        if len(row) != count:
            raise InvalidInput(f"{path} line {number}: {len(row)} fields; it must have {count}")
    if not rows:
        raise InvalidInput(f"{path}: is empty; take the file from the release")
    return [list(column) for column in zip(*rows, strict=True)]


def _check_rows_agree(members_file: Path, marks_file: Path, members: list[str], marked: list[str]) -> None:
    files = f"{members_file} and {marks_file.name}"
    if len(members) != len(marked):
        raise InvalidInput(f"{files} have {len(members)} and {len(marked)} lines; they must be of one release")
    for number, (one, other) in enumerate(zip(members, marked, strict=True), start=1):
        if one != other:
            raise InvalidInput(f"{files} disagree in line {number}: {one} and {other}; they must be of one release")


def _integers(path: Path, texts: list[str], what: str) -> Ids:
    try:
        return np.array([int(text) for text in texts], dtype=np.int64)
    except (ValueError, OverflowError):
        number = next(n for n, text in enumerate(texts, start=1) if not text.lstrip("-").isdigit() or len(text) > 18)
        raise InvalidInput(f"{path} line {number}: {what} {texts[number - 1]!r} is no whole number") from None


def _floats(path: Path, columns: list[list[str]]) -> list[NDArray[np.float64]]:
    try:
        numbers = [np.array(column, dtype=np.float64) for column in columns]
    except ValueError:
        rows = enumerate(zip(*columns, strict=True), start=1)
        number, text = next((number, text) for number, row in rows for text in row if not _is_number(text))
        raise InvalidInput(f"{path} line {number}: holds {text!r}; landmarks and scores are numbers") from None
    for column in numbers:
        wrong = np.flatnonzero(~np.isfinite(column))
        if len(wrong):
            raise InvalidInput(f"{path} line {wrong[0] + 1}: holds {column[wrong[0]]}; landmarks and scores are finite")
    return numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(path: Path) -> NDArray[np.int64]:
    """(P, 3) whole numbers."""
    try:
        with _reading(path), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an empty file, which is refused below
            warnings.simplefilter("error", DeprecationWarning)  # numpy would cut fractions off
            rows = np.loadtxt(path, dtype=np.int64, comments=None, ndmin=2, encoding="ascii")
    except (ValueError, OverflowError, DeprecationWarning):
        raise InvalidInput(f"{path} {_first_odd_line(path)}; a line is 'template template label'") from None
    if rows.size == 0 or rows.shape[1] != 3:
        raise InvalidInput(
            f"{path}: has {rows.shape[1] if rows.size else 0} columns; a line is 'template template label'"
        )
    return rows


def _first_odd_line(path: Path) -> str:
    """Where a file of whole numbers has something else."""
    with _reading(path), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip() and not WHOLE_NUMBERS.fullmatch(line):
                return f"line {number}: {line[:LONGEST_SHOWN].decode('ascii', 'replace').strip()!r}"
    return "holds numbers that are too large"
