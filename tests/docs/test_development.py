"""The map of the code shows every room that there is, and no other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "development.md").read_text()
DISTRIBUTIONS = {"api": "arcface_api", "faces": "arcface_faces", "trainer": "arcface_trainer"}
DISTRIBUTIONS |= {"evaluator": "arcface_evaluator", "operator": "arcface_operator"}
MOST_MODULES = 15


def rooms(distribution: str) -> dict[str, list[Path]]:
    """Modules by the folder that they lie in, as the map names it; those beside the rooms are rooms of their own."""
    package = ROOT / distribution / "src" / DISTRIBUTIONS[distribution]
    found: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        if path.parent != package:
            found.setdefault(f"{path.parent.relative_to(package)}/", []).append(path)
        elif not path.name.startswith("__"):
            found[path.name] = [path]
    return found


def mapped(distribution: str) -> set[str]:
    """Rooms in the table of a distribution."""
    section = PAGE.partition(f"### {distribution}/")[2].partition("\n##")[0]
    return set(re.findall(r"^\| `([a-z_/.]+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_room_is_on_the_map_and_no_other(distribution: str) -> None:
    assert mapped(distribution) == set(rooms(distribution))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_room_says_what_it_is_and_can_be_seen_at_a_glance(distribution: str) -> None:
    for name, paths in rooms(distribution).items():
        door = next((path for path in paths if path.name in {"__init__.py", name}), None)
        assert door is not None, f"{name} has no __init__.py"
        assert door.read_text().startswith('"""'), f"{name} does not say what it is"
        assert len(paths) - 1 <= MOST_MODULES, f"{name} holds too many modules"


def test_the_readme_names_every_distribution() -> None:
    layout = (ROOT / "README.md").read_text().partition("## Layout")[2]
    assert {f"`{distribution}/`" for distribution in DISTRIBUTIONS} <= set(re.findall(r"`[a-z]+/`", layout))


def test_every_command_of_the_makefile_that_the_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b", PAGE)) - {"bench"} <= targets
