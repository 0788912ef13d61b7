"""Who is enrolled and who is looked for, in files beside those of a set's templates.

    meta/ijbc_1N_gallery_G1.csv     template,subject; IJB-B calls its galleries S1 and S2
    meta/ijbc_1N_gallery_G2.csv
    meta/ijbc_1N_probe_mixed.csv    template,subject
    meta/NAME_1N_distractors.csv    template; enrolled in every gallery and nobody's mate; IJB has none

A set of another name may have one gallery (`NAME_1N_gallery.csv`) or any number, and one file of probes. Other columns
are passed over, as is a first line that names them; NIST's files repeat a template for each of its images.
"""

import glob
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_evaluator.protocols.identification import NOBODY
from arcface_evaluator.sets.release import MEMBERS, TemplateSet
from arcface_faces import delimited

RELEASED = {
    "IJBB": ("gallery_S1", "gallery_S2", "probe_mixed"),
    "IJBC": ("gallery_G1", "gallery_G2", "probe_mixed"),
}
"""What the published protocols have; of other sets all that is there."""
LONGEST_NUMBER = 18
"""Digits."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """Templates and who they show."""

    templates: NDArray[np.int64]
    """(T,) indices among the set's."""
    subjects: NDArray[np.int64]
    """(T,) ids of persons, or NOBODY."""


@dataclass(frozen=True, slots=True)
class Galleries:
    """The 1:N protocol of a set."""

    galleries: dict[str, Subjects]
    """By their names: G1 and G2 in IJB-C; distractors are in each."""
    probes: Subjects
    files: list[Path]
    """What was read."""


def open_galleries(opened: TemplateSet) -> Galleries:
    """Read and check who is enrolled and who is looked for.

    Raises:
        InvalidInput: where a file is missing or malformed, or names a template that has no images.
    """
    stem = opened.members_file.name.removesuffix(MEMBERS)
    present = sorted(opened.members_file.parent.glob(f"{glob.escape(stem)}_1N_*.csv"))
    found = {path.stem.removeprefix(f"{stem}_1N_"): path for path in present}
    kinds = RELEASED.get(opened.name, tuple(found))
    galleries, distractors, probes = (
        [kind for kind in kinds if kind.startswith(begin)] for begin in ("gallery", "distractor", "probe")
    )
    missing = [kind for kind in [*(galleries or ["gallery"]), *(probes or ["probe"])] if kind not in found]
    if missing:
        path = opened.members_file.with_name(f"{stem}_1N_{missing[0]}.csv")
        raise InvalidInput(f"{path}: is missing; identification needs a gallery and probes")
    if len(probes) > 1:
        raise InvalidInput(f"{found[probes[0]]}: {found[probes[1]].name} is beside it; keep one file of probes")
    others = [_read_subjects(found[kind], opened, columns=1) for kind in distractors]
    return Galleries(
        {_gallery_name(kind): _enrol(_read_subjects(found[kind], opened), others, opened) for kind in galleries},
        _read_subjects(found[probes[0]], opened),
        [found[kind] for kind in (*galleries, *distractors, *probes)],
    )


def _gallery_name(kind: str) -> str:
    """G1 for gallery_G1."""
    return kind.removeprefix("gallery").strip("_") or "gallery"


def _enrol(gallery: Subjects, distractors: list[Subjects], opened: TemplateSet) -> Subjects:
    """A gallery with distractors; InvalidInput where a template is in both."""
    parts = [gallery, *distractors]
    places, counts = np.unique(np.concatenate([part.templates for part in parts]), return_counts=True)
    if (counts > 1).any():
        template = opened.templates.ids[places[counts > 1][0]]
        raise InvalidInput(f"{opened.name}: template {template} is in a gallery and among distractors; leave it in one")
    return Subjects(
        np.concatenate([part.templates for part in parts]), np.concatenate([part.subjects for part in parts])
    )


def _read_subjects(path: Path, opened: TemplateSet, columns: int = 2) -> Subjects:
    """The templates of a file, each once, in the order of their ids; nobody's where there is one column."""
    rows = _numbers(path, columns)
    ids, first = np.unique(rows[:, 1], return_index=True)
    places = opened.places_of(ids, path, lambda row: int(rows[first[row], 0]))
    if columns == 1:
        return Subjects(places, np.full(len(ids), NOBODY))
    subjects = rows[first, 2]
    odd = np.flatnonzero(rows[:, 2] != subjects[np.searchsorted(ids, rows[:, 1])])
    if len(odd):
        line, template, _ = rows[odd[0]]
        raise InvalidInput(f"{path} line {line}: template {template} has another subject in an earlier line")
    return Subjects(places, subjects)


def _numbers(path: Path, columns: int) -> NDArray[np.int64]:
    """(R, 1 + columns) number of each line, and the whole numbers that it begins with."""
    found = []
    lines = delimited.read_lines(path, "take it from the release")
    for place, row in enumerate(delimited.rows(path, lines, lambda fields: len(fields) >= columns)):
        fields = row.fields[:columns]
        if len(fields) == columns and all(map(_is_number, fields)):
            found.append([row.line, *map(int, fields)])
        elif place > 0 or len(fields) < columns or not delimited.is_heading(fields):
            raise InvalidInput(f"{path} line {row.line}: {row.shown()}; a line is 'template,subject', whole numbers")
    if not found:
        raise InvalidInput(f"{path}: names no template; a line is 'template,subject'")
    return np.array(found, np.int64)


def _is_number(field: str) -> bool:
    return field.isascii() and field.isdigit() and len(field) <= LONGEST_NUMBER
