"""Groups of pairs, in a text file beside a set: `rfw.groups` has a line for each pair of `rfw.bin`, a name or nothing.

A set's own file has no place for them that other readers would not stumble over.
"""

from pathlib import Path

import numpy as np

from arcface_api.errors import InvalidInput, explained
from arcface_faces import delimited, whole_file
from arcface_faces.scores import Groups

SUFFIX = ".groups"
MOST_GROUPS = 1000
LONGEST_NAME = 80
"""Letters."""


def groups_file(set_file: Path) -> Path:
    """Where the groups of a set are, if it has any."""
    return set_file.with_suffix(SUFFIX)


def read_groups(set_file: Path, pairs: int) -> Groups | None:
    """Groups in the order of their first pair; None where there is no such file.

    Raises:
        InvalidInput: where the file is not about this many pairs, or holds no names.
    """
    path = groups_file(set_file)
    with explained(path, "cannot be looked for", "mend its rights"):
        if not path.exists():
            return None
    lines = [line.strip() for line in delimited.read_lines(path, "mend or remove it")]
    if len(lines) != pairs:
        raise InvalidInput(
            f"{path}: has {len(lines)} lines for the {pairs} pairs of {set_file.name}; give one for each"
        )
    names = list(dict.fromkeys(line for line in lines if line))
    check_names(str(path), names)
    places = {name: place for place, name in enumerate(names)}
    return Groups(tuple(names), np.array([places.get(line, -1) for line in lines], np.int32))


def check_names(where: str, names: list[str]) -> None:
    """InvalidInput where names are too many or too long to be groups, or make no line of a text."""
    if len(names) > MOST_GROUPS:
        raise InvalidInput(f"{where}: names {len(names)} groups; at most {MOST_GROUPS} are told apart")
    if longest := next((name for name in names if len(name) > LONGEST_NAME), None):
        raise InvalidInput(f"{where}: group {longest[:LONGEST_NAME]!r}... is longer than {LONGEST_NAME} letters")
    if broken := next((name for name in names if {"\r", "\n"} & set(name)), None):
        raise InvalidInput(f"{where}: group {broken!a} has ends of lines: call it otherwise")


def write_groups(set_file: Path, groups: list[str]) -> None:
    """Write the groups of a set's pairs beside it; nothing where none has any."""
    if any(groups):
        path = groups_file(set_file)
        writing = explained(path, "cannot be written", "name another file or mend its folder")
        with writing, whole_file.replacing(path) as file:
            file.write("".join(f"{name}\n" for name in groups).encode())
