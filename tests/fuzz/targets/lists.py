"""Lists that people and spreadsheets write: pairs, landmarks, labels, groups."""

import math
import re
from typing import Any

from arcface_evaluator.sets import labelled_list
from arcface_faces.image_files import framing
from arcface_faces.pairs import groups, pair_list
from fuzz import scratch
from fuzz.mutation import mutate_text
from fuzz.target import Target

QUOTE, DOUBLED = '"', '""'
"""A quote within a quoted field is written twice."""
MARKS = " ".join(f"{number}.5" for number in range(30, 40)).encode()
PLAIN_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
"""As all languages write numbers; Python alone reads underscores and other alphabets' digits."""


def targets() -> list[Target]:
    """Of lists."""
    return [
        Target(name="pair-table", samples=_TABLES, read=_pairs(".csv"), agrees=_are_those_pairs, mutate=mutate_text),
        Target(name="pair-list", samples=_LFW, read=_pairs(".txt"), agrees=_are_those_pairs, mutate=mutate_text),
        Target(name="landmarks", samples=_landmarks(), read=_marks, agrees=_are_those_marks, mutate=mutate_text),
        Target(name="labelled-list", samples=_LABELS, read=_labels, agrees=_are_those_labels, mutate=mutate_text),
        Target(name="groups", samples=_GROUPS, read=_groups, agrees=_are_those_groups, mutate=mutate_text),
    ]


_TABLES = [
    b"first,second,same\na/1.jpg,a/2.jpg,1\na/1.jpg,b/1.jpg,0\n",
    b'first;second;same;group\n"a;1.jpg";b.jpg;true;old\nc.jpg;d.jpg;False;\n',
    b"a.jpg\tb.jpg\t1\nc d.jpg\te.jpg\t0\n",
    "x.jpg,y.jpg,1\n\u00fc.jpg,y.jpg,0\n".encode("utf-16"),
]
_LFW = [b"1\t2\nAnn_A\t1\t2\nAnn_A\t1\tBob_B\t1\n", b"Ann 1 4\nAnn 1 Bob 2\n", b"2\nAnn B\t1\t2\n\nAnn B\t3\tC\t1\n"]


def _pairs(suffix: str) -> Any:
    return lambda data: pair_list.read_list(scratch.write(f"pairs{suffix}", data))


def _text(data: bytes) -> str:
    """Every text that the bytes may be, so that something of them can be looked for in it."""
    codes = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
    text = "\n".join(data.decode(code, "replace") for code in codes)
    return f"{text}\n{text.replace(DOUBLED, QUOTE)}"


def _are_those_pairs(data: bytes, value: list[pair_list.ListedPair]) -> bool:
    """Names, and numbers of images, stand in the bytes; truth has its word there."""
    text = _text(data)
    return all(_stands(pair.first, text) and _stands(pair.second, text) for pair in value) and len(value) > 0


def _stands(name: str, text: str) -> bool:
    found = re.fullmatch(r"(.*)/\1_0*([0-9]+)", name, re.DOTALL)
    # A field with line ends is read from a text in which they are all alike.
    parts = found.groups() if found else (name,)
    return all(part.strip() in text or _plain(part) in _plain(text) for part in parts)


def _plain(text: str) -> str:
    return re.sub(r"[\r\n]+", "\n", text)


def _landmarks() -> list[bytes]:
    spaces = b"a.jpg " + MARKS + b"\nb.jpg " + MARKS + b" 0.9\n"
    header = b"name,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\n"
    return [spaces, header + b"a.jpg," + MARKS.replace(b" ", b",") + b"\n", b"a b.jpg\t" + MARKS.replace(b" ", b"\t")]


def _marks(data: bytes) -> framing.LandmarkList:
    return framing.read_landmarks(scratch.write("marks.txt", data))


def _are_those_marks(data: bytes, value: framing.LandmarkList) -> bool:
    """Ten finite numbers a name, all of which stand in the bytes as numbers are written."""
    told = set()
    for word in re.split(r"[\s,;\"]+", _text(data)):
        if PLAIN_NUMBER.fullmatch(word):
            told.add(float(word))
    numbers = value.points.ravel().tolist()
    if not _is_whole(data, len(value.rows)):
        return False
    return all(math.isfinite(number) and number in told for number in numbers) and len(numbers) == 10 * len(value.rows)


def _is_whole(data: bytes, rows: int) -> bool:
    """No line is left out but a first one without any number."""
    lines = [line for line in re.split(r"[\r\n]+", data.decode("utf-8-sig", "replace")) if line.strip()]
    if b'"' in data or b"\0" in data or len(lines) == rows:  # a quoted field may have line ends, so may UTF-16
        return True
    between = next((mark for mark in (",", ";", "\t") if mark in lines[0]), " ")
    return len(lines) == rows + 1 and not re.search(rf"{between}\s*[-+.]*[0-9]", lines[0], re.ASCII)


_LABELS = [
    b"image,label\na.jpg,ann\nb.jpg,bob\nc.jpg,bob\n",
    b"a.jpg;ann;old\nb.jpg;ann;young\nc.jpg;bob;old\n",
    b"a.jpg ann\nb.jpg bob\nc.jpg ann\n",
]


def _labels(data: bytes) -> labelled_list.LabelledList:
    return labelled_list.read_labelled_list(scratch.write("list.csv", data))


def _are_those_labels(data: bytes, value: labelled_list.LabelledList) -> bool:
    """Each image has a label, numbered without gaps, and stands in the bytes."""
    text = _text(data)
    is_whole = set(value.labels.tolist()) == set(range(len(set(value.labels.tolist()))))
    is_told = all(name in text or _plain(name) in _plain(text) for name in value.images)
    return is_whole and is_told and len(value.images) == len(value.labels) > 0


_GROUPS = [b"old\nyoung\n\nold\n", b"a\nb\nc\nd", "\u00e9\n\n\nb\n".encode()]


def _groups(data: bytes) -> Any:
    scratch.write("set.groups", data)
    return groups.read_groups(scratch.folder() / "set.bin", 4)


def _are_those_groups(data: bytes, value: Any) -> bool:
    text = _text(data)
    return len(value.names) <= 4 and all(name in text for name in value.names) and len(value.codes) == 4
