"""Sets of templates: the text files of IJB, and the galleries of its 1:N protocol."""

import re
from typing import Any

import numpy as np

from arcface_evaluator.sets import galleries, release
from fuzz import scratch
from fuzz.mutation import mutate_text
from fuzz.target import Target
from fuzz.targets.lists import PLAIN_NUMBER

POINTS = " ".join(str(number) for number in (38.2, 51.6, 73.5, 51.5, 56.0, 71.7, 41.5, 92.3, 70.7, 92.2))
WHOLE = re.compile(r"[0-9]{1,18}")
NUMBERS = re.compile(r"\s*[0-9]{1,18}\s*[\s,;]\s*[0-9]{1,18}\s*([\s,;]|$)")
SIGNED = re.compile(r"[-+]?[0-9]{1,18}")


def targets() -> list[Target]:
    """Of sets of templates."""
    return [
        Target(name="ijb", samples=_RELEASES, read=_release, agrees=_is_that_release, mutate=mutate_text),
        Target(name="galleries", samples=_GALLERIES, read=_galleries, agrees=_are_those_galleries, mutate=mutate_text),
    ]


_RELEASES = [
    scratch.BETWEEN.join(
        (
            "".join(f"{row}.jpg {row // 2} {row}\n" for row in range(6)).encode(),
            b"0 1 1\n0 2 0\n1 2 0\n",
            "".join(f"{row}.jpg {POINTS} 0.9\n" for row in range(6)).encode(),
        )
    ),
    scratch.BETWEEN.join((b"a.jpg 1 1\nb.jpg 9 2\n", b"1 9 0\n1 1 1\n")),
]


def _release(data: bytes) -> release.IjbRelease:
    is_ijb = data.count(scratch.BETWEEN) >= 2
    name, folder = ("ijbc", "IJBC") if is_ijb else ("own", "own")
    meta = scratch.place(f"{folder}/meta").relative_to(scratch.folder())
    kinds = (release.MEMBERS, release.PAIRS, release.MARKS)
    scratch.write_parts(data, [f"{meta}/{name}{kind}" for kind in kinds[: 3 if is_ijb else 2]])
    return release.open_ijb(scratch.folder() / folder)


def _rows(text: bytes, width: int) -> list[list[str]]:
    words = text.decode("ascii").split()
    return [words[place : place + width] for place in range(0, len(words), width)]


def _is_that_release(data: bytes, value: release.IjbRelease) -> bool:
    parts = [_rows(part, width) for part, width in zip(data.split(scratch.BETWEEN), (3, 3, 12), strict=False)]
    names, templates, media = zip(*parts[0], strict=True)
    if not all(SIGNED.fullmatch(text) for text in (*templates, *media)) or value.images != list(names):
        return False
    ids = value.templates.ids[value.templates.template].tolist()
    first, second, same = zip(*parts[1], strict=True)
    pairs = [value.templates.ids[side].tolist() for side in (value.pairs.first, value.pairs.second)]
    numbers = [list(map(int, column)) for column in (templates, first, second)]
    is_told = [ids, *pairs] == numbers and value.pairs.is_same.tolist() == [int(label) == 1 for label in same]
    return is_told and (len(parts) < 3 or _are_those_marks(parts[2], value))


def _are_those_marks(rows: list[list[str]], value: release.IjbRelease) -> bool:
    if not all(PLAIN_NUMBER.fullmatch(text) for row in rows for text in row[1:]):
        return False
    numbers = np.array([[float(text) for text in row[1:]] for row in rows])
    assert value.points is not None
    return bool((value.points.reshape(-1, 10) == numbers[:, :10]).all() and (value.scores == numbers[:, 10]).all())


_GALLERIES = [
    scratch.BETWEEN.join((b"TEMPLATE_ID,SUBJECT_ID\n1,7\n2,8\n", b"TEMPLATE_ID,SUBJECT_ID\n3,7\n4,9\n")),
    scratch.BETWEEN.join((b"1,7,x\n1,7,y\n", b"3,7\n\n4,9\n")),
]
SET = release.TemplateSet(
    name="own",
    folder=scratch.folder(),
    members_file=scratch.folder() / f"own{release.MEMBERS}",
    marks_file=None,
    images=[],
    points=None,
    scores=np.ones(5),
    templates=release.templates.Templates(np.arange(5), np.arange(5), np.arange(5)),
)


def _galleries(data: bytes) -> Any:
    scratch.write_parts(data, ("own_1N_gallery.csv", "own_1N_probe.csv"))
    return galleries.open_galleries(SET)


def _are_those_galleries(data: bytes, value: galleries.Galleries) -> bool:
    """The pairs of template and subject are those of the lines that begin with two whole numbers."""
    found = [value.galleries["gallery"], value.probes]
    return all(
        # UTF-16 and quoted fields have line ends where bytes have none, or the other way round.
        b"\0" in part or b'"' in part or _told(part) == _held(subjects)
        for part, subjects in zip(data.split(scratch.BETWEEN), found, strict=False)
    )


def _is_heading(line: str) -> bool:
    """Whether a line that is left out has no number where the two stand."""
    between = next((mark for mark in ",;\t" if mark in line.strip()), None)
    return not any(re.match(r"[-+.]*[0-9]", field.strip()) for field in line.strip().split(between)[:2])


def _told(part: bytes) -> set[tuple[int, int]]:
    lines = re.split(r"[\r\n]", part.decode("utf-8-sig"))
    fields = [[field.strip() for field in re.split(r"\s*[,;\t]\s*|\s+", line.strip())[:2]] for line in lines]
    assert all(_is_heading(line) for line in [line for line in lines if line.strip()][:1] if not NUMBERS.match(line))
    return {(int(row[0]), int(row[1])) for row in fields if len(row) == 2 and all(map(WHOLE.fullmatch, row))}


def _held(subjects: galleries.Subjects) -> set[tuple[int, int]]:
    return set(zip(subjects.templates.tolist(), subjects.subjects.tolist(), strict=True))
