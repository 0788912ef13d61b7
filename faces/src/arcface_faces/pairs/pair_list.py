"""Pairs as people write them down, made into a verification set.

Two kinds of lists: a table `first,second,same` or `first,second,same,group`, with or without these words in its first
line, where the first two are files below the images' folder; and LFW's `pairs.txt`, whose lines `name 1 4` and `name 1
other 2` stand for `name/name_0001.jpg` and so on.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arcface_api.errors import InvalidInput, explained
from arcface_faces import delimited, images
from arcface_faces.image_files import framing, tree
from arcface_faces.pairs import groups
from arcface_faces.pairs.protocol import check_foldable
from arcface_faces.positioned_file import read_regular

TABLES = frozenset({".csv", ".tsv"})
HEADER = ["first", "second", "same"]
GROUP = "group"
"""A fourth column, which may be left out."""
TRUTH = {"1": True, "true": True, "0": False, "false": False}
LONGEST_NUMBER = 9
"""Digits."""
LONGEST_SHOWN = 80
"""Letters of a line that a message shows."""


@dataclass(frozen=True, slots=True)
class ListedPair:
    """One line of a list."""

    line: int
    first: str
    second: str
    is_same: bool
    group: str = ""


@dataclass(frozen=True, slots=True)
class DroppedPair:
    """A pair that a set cannot have."""

    pair: ListedPair
    reason: str


@dataclass(frozen=True, slots=True)
class MadeSet:
    """What becomes of a list."""

    images: list[bytes]
    """As they are on disk, or framed and stored without loss; pair i at 2i and 2i + 1."""
    is_same: list[bool]
    groups: list[str]
    """Of each pair, empty where it is of none."""
    dropped: list[DroppedPair]

    def check(self) -> None:
        """InvalidInput, with the account, where what is left makes no set."""
        check_foldable(f"{self.account()}: what is left", np.array(self.is_same, bool))

    def account(self) -> str:
        """How many pairs there are, and how many were dropped for what."""
        same = sum(self.is_same)
        text = f"{len(self.is_same)} pairs, {same} of one person"
        if not self.dropped:
            return f"{text}; none dropped"
        reasons = Counter(dropped.reason.split(": ")[0] for dropped in self.dropped)
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        return f"{text}; {len(self.dropped)} dropped: {counts}"


def read_list(path: Path) -> list[ListedPair]:
    """The pairs of a list, in its order, which decides on the folds.

    Raises:
        InvalidInput: naming the first line that is not one.
    """
    lines = delimited.read_lines(path, "correct --list")
    pairs = list(_table_pairs(path, lines) if _is_table(path, lines) else _lfw_pairs(path, lines))
    if not pairs:
        raise InvalidInput(f"{path}: holds no pairs")
    groups.check_names(str(path), list(dict.fromkeys(pair.group for pair in pairs)))
    return pairs


def make_set(pairs: list[ListedPair], folder: tree.ImageTree, frame: framing.Framing) -> MadeSet:
    """Read the images below a folder; pairs that lack a usable one are dropped and accounted for."""
    made = MadeSet([], [], [], [])
    for pair in pairs:
        found = [_image(folder, frame, name) for name in (pair.first, pair.second)]
        problem = next((text for text in found if isinstance(text, str)), None)
        if problem is not None:
            made.dropped.append(DroppedPair(pair, problem))
            continue
        made.images.extend(content for content in found if isinstance(content, bytes))
        made.is_same.append(pair.is_same)
        made.groups.append(pair.group)
    return made


def _is_table(path: Path, lines: list[str]) -> bool:
    """By its name, or where the first pair names two files: a line of LFW has a number in the second place."""
    if path.suffix.lower() in TABLES:
        return True
    first = next(
        (line for number, line in enumerate(lines, start=1) if line.strip() and not _is_count(number, line)), ""
    )
    row = next(delimited.rows(path, [first], _is_table_row), None)
    if row is None or not _is_table_row(row.fields):
        return False
    # Four words may be two persons of LFW with an image each.
    return _is_header(row.fields) or (len(row.fields) == len(HEADER) and not _is_number(row.fields[1]))


def _is_table_row(fields: list[str]) -> bool:
    is_as_long = len(fields) - len(HEADER) in {0, 1}
    return _is_header(fields) or (is_as_long and fields[2].lower() in TRUTH)


def _is_header(fields: list[str]) -> bool:
    return [name.lower() for name in fields] in (HEADER, [*HEADER, GROUP])


def _table_pairs(path: Path, lines: list[str]) -> Iterator[ListedPair]:
    for number, row in enumerate(delimited.rows(path, lines, _is_table_row)):
        if number == 0 and _is_header(row.fields):
            continue
        if _is_header(row.fields) or not _is_table_row(row.fields):
            expected = f"the header is {','.join(HEADER)!r}" if number == 0 else "a line is 'file,file,1-or-0'"
            raise InvalidInput(f"{path} line {row.line}: {row.shown()}; {expected}")
        first, second, truth, *group = row.fields
        yield ListedPair(row.line, first, second, TRUTH[truth.lower()], *group)


def _is_count(number: int, line: str) -> bool:
    """Whether a line tells of sets and pairs of each, or of pairs alone."""
    counts = line.split()
    return number == 1 and len(counts) <= 2 and all(map(_is_number, counts))


def _lfw_pairs(path: Path, lines: list[str]) -> Iterator[ListedPair]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or _is_count(number, line):
            continue
        # Names may have blanks where tabs are between them and the numbers.
        match [word.strip() for word in line.strip().split("\t" if "\t" in line.strip() else None)]:
            case [name, one, other] if _is_number(one) and _is_number(other):
                yield ListedPair(number, _lfw_file(name, one), _lfw_file(name, other), is_same=True)
            case [name, one, stranger, other] if _is_number(one) and _is_number(other):
                yield ListedPair(number, _lfw_file(name, one), _lfw_file(stranger, other), is_same=False)
            case _:
                shown = line[:LONGEST_SHOWN]
                raise InvalidInput(f"{path} line {number}: {shown!r}; a line is 'name 1 4' or 'name 1 other 2'")


def _is_number(text: str) -> bool:
    """Whether a word is the number of an image."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER


def _lfw_file(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}"


def _image(folder: tree.ImageTree, frame: framing.Framing, name: str) -> bytes | str:
    """The encoded image, or why there is none; ArcFaceError where another look may find it."""
    try:
        path = folder.find(name)
        with explained(path, "cannot be read", "correct the list"):
            content = read_regular(path)
    except InvalidInput as error:
        return f"missing image: {error}"
    shown = str(path.relative_to(folder.folder))
    try:
        framed = frame(content, shown, shown)
    except InvalidInput as error:
        return f"unusable image: {error}"
    return content if isinstance(frame, framing.Aligned) else images.encode_png(framed)
