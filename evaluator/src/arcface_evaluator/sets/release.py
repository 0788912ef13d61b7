"""The text files of a set of templates: which images make up which template, and which templates are compared.

    meta/ijbc_face_tid_mid.txt          image template media
    meta/ijbc_name_5pts_score.txt       image x1 y1 ... x5 y5 score
    meta/ijbc_template_pair_label.txt   template template 1-or-0
    loose_crop/                         the images

IJB-B and IJB-C come so; any other name in the place of `ijbc` makes a set, too, whose images are aligned already where
there are no landmarks. Row i of the first two files is about the same image; that is checked here, and by nobody else.
"""

import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained, printable
from arcface_evaluator.protocols import template_pairs, templates
from arcface_faces.image_files import tree

IMAGES_FOLDER = "loose_crop"
META = "meta"
MEMBERS, MARKS, PAIRS = "_face_tid_mid.txt", "_name_5pts_score.txt", "_template_pair_label.txt"
"""Names of the files after that of the set."""
RELEASED = ("IJBB", "IJBC")
"""Sets whose files are called in small letters."""
POINTS = 5
SIZE_LIMIT = 1 << 31
WHOLE_NUMBERS = re.compile(rb"\s*\d{1,18}\s+\d{1,18}\s+\d{1,18}\s*")
WHOLE_NUMBER = re.compile(r"[-+]?[0-9]{1,18}")
LONGEST_SHOWN = 80
"""Bytes of a line that a message shows."""
Ids = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSet:
    """Images that make up templates."""

    name: str
    folder: Path
    members_file: Path
    """Which image belongs to which template and media."""
    marks_file: Path | None
    """Landmarks and detector's scores; None where images are aligned."""
    images: list[str]
    """(N,) file names below loose_crop."""
    links: tree.Links = "inside"
    """Where they may lead."""
    points: NDArray[np.float64] | None
    """(N, 5, 2) landmarks in pixels."""
    scores: NDArray[np.float64]
    """(N,) detector's confidence."""
    templates: templates.Templates

    @property
    def member_files(self) -> tuple[Path, ...]:
        """What says which images make up which template, and how they are aligned."""
        return self.members_file, *([] if self.marks_file is None else [self.marks_file])

    def places_of(self, ids: Ids, path: Path, line_of: Callable[[int], int]) -> NDArray[np.int64]:
        """(P,) indices of the templates with these ids, which stand in these lines of a file."""
        known = self.templates.ids
        places = np.searchsorted(known, ids)
        unknown = np.flatnonzero((places == len(known)) | (known[np.minimum(places, len(known) - 1)] != ids))
        if len(unknown):
            row = int(unknown[0])
            raise InvalidInput(f"{path} line {line_of(row)}: template {ids[row]} has no images; check the two files")
        return places


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IjbRelease(TemplateSet):
    """A set whose templates are compared pair by pair, opened."""

    pairs_file: Path
    """Comparisons."""
    pairs: template_pairs.TemplatePairs

    @property
    def files(self) -> tuple[Path, ...]:
        """What was read."""
        return *self.member_files, self.pairs_file


def open_ijb(folder: Path, links: tree.Links = "inside") -> IjbRelease:
    """Read and check the three files of a set.

    Raises:
        InvalidInput: where a file is missing, malformed, or does not agree with the others.
    """
    opened = open_templates(folder, links)
    pairs_file = opened.members_file.with_name(opened.members_file.name.replace(MEMBERS, PAIRS))
    fields = {field.name: getattr(opened, field.name) for field in dataclasses.fields(opened)}
    return IjbRelease(**fields, pairs_file=pairs_file, pairs=_read_pairs(pairs_file, opened))


def open_templates(folder: Path, links: tree.Links = "inside") -> TemplateSet:
    """Read and check the two files that say what a set's templates are made of.

    Raises:
        InvalidInput: where one is missing or malformed, or they do not agree.
    """
    name, members_file = _find_members(folder)
    marks_file = members_file.with_name(members_file.name.replace(MEMBERS, MARKS))
    members = _columns(members_file, 3)
    is_aligned = name not in RELEASED and not marks_file.exists()
    points, scores = (
        (None, np.ones(len(members[0]))) if is_aligned else _read_marks(marks_file, members_file, members[0])
    )
    ids, index = np.unique(_integers(members_file, members[1], "template"), return_inverse=True)
    return TemplateSet(
        name=name,
        folder=folder,
        members_file=members_file,
        marks_file=None if is_aligned else marks_file,
        images=members[0],
        links=links,
        points=points,
        scores=scores,
        templates=templates.Templates(ids, index, _integers(members_file, members[2], "media")),
    )


def _read_marks(path: Path, members_file: Path, images: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Landmarks (N, 5, 2) and detector's scores (N,) of these images."""
    marks = _columns(path, 2 + 2 * POINTS)
    _check_rows_agree(members_file, path, images, marks[0])
    numbers = _floats(path, marks[1:])
    return np.stack(numbers[:-1], axis=1).reshape(-1, POINTS, 2), numbers[-1]


def _find_members(folder: Path) -> tuple[str, Path]:
    """Name of the set in a folder, and the file that has the name before it."""
    meta = folder / META
    with explained(meta, "cannot be read", "--root is the folder with meta/"):
        found = sorted(path for path in meta.iterdir() if path.name.endswith(MEMBERS))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InvalidInput(f"{meta}: must hold one file NAME{MEMBERS} and holds {names}; --root is one set's folder")
    name = found[0].name.removesuffix(MEMBERS)
    return (name.upper() if name.upper() in RELEASED else printable(name)), found[0]


def _read_pairs(path: Path, opened: TemplateSet) -> template_pairs.TemplatePairs:
    """Comparisons, fifteen million of them in IJB-C: parsed as one array of numbers.

    Raises:
        InvalidInput: naming the first line with a template that no image belongs to, or a label but 0 and 1.
    """
    numbers = _numbers(path)
    line_of = partial(_line_of, path)
    first, second = (opened.places_of(numbers[:, column], path, line_of).astype(np.int32) for column in (0, 1))
    label = numbers[:, 2]
    odd = np.flatnonzero((label != 0) & (label != 1))
    if len(odd):
        raise InvalidInput(f"{path} line {line_of(int(odd[0]))}: label {label[odd[0]]}; it must be 0 or 1")
    same = int(label.sum())
    if same in {0, len(label)}:
        raise InvalidInput(f"{path}: {same} pairs are of one person and {len(label) - same} of two; there must be both")
    return template_pairs.TemplatePairs(first, second, label == 1)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Reads a file of a release inside of this context; its size is looked at before."""
    with explained(path, "cannot be read", "--root is the folder with meta/"):
        if not path.is_file() and path.exists():  # a pipe would be waited for
            raise InvalidInput(f"{path}: is not a file; take it from the release")
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
    for number, text in enumerate(texts, start=1):
        if WHOLE_NUMBER.fullmatch(text) is None:
            raise InvalidInput(f"{path} line {number}: {what} {text!r} is no whole number")
    return np.array([int(text) for text in texts], dtype=np.int64)


def _floats(path: Path, columns: list[list[str]]) -> list[NDArray[np.float64]]:
    try:
        numbers = [_plain(column) for column in columns]
    except ValueError:
        rows = enumerate(zip(*columns, strict=True), start=1)
        number, text = next((number, text) for number, row in rows for text in row if not _is_number(text))
        raise InvalidInput(f"{path} line {number}: holds {text!r}; landmarks and scores are numbers") from None
    for column in numbers:
        wrong = np.flatnonzero(~np.isfinite(column))
        if len(wrong):
            raise InvalidInput(f"{path} line {wrong[0] + 1}: holds {column[wrong[0]]}; landmarks and scores are finite")
    return numbers


def _plain(column: list[str]) -> NDArray[np.float64]:
    """Its numbers; ValueError where one is none, though numpy reads 1_0 as 10."""
    if any("_" in text for text in column):
        raise ValueError("an underscore")
    return np.array(column, dtype=np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


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


def _line_of(path: Path, row: int) -> int:
    """Number of the line with a row of numbers: blank ones count as lines and have no row."""
    with _reading(path), path.open("rb") as file:
        return next(islice((number for number, line in enumerate(file, start=1) if line.strip()), row, None))


def _first_odd_line(path: Path) -> str:
    """Where a file of whole numbers has something else."""
    with _reading(path), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip() and not WHOLE_NUMBERS.fullmatch(line):
                return f"line {number}: {line[:LONGEST_SHOWN].decode('ascii', 'replace').strip()!r}"
    return "holds numbers that are too large"
