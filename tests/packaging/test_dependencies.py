"""A distribution declares what it imports, and nothing else: what comes along with others may go with them."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CALLED = {"yaml": "pyyaml", "cv2": "opencv-python-headless", "tensorboardX": "tensorboardx"}
"""Modules whose distributions have other names."""
FOR_TYPES = {"_typeshed"}


def imported(distribution: str) -> set[str]:
    """Distributions of the modules that its sources name."""
    paths = (ROOT / distribution / "src").rglob("*.py")
    modules = {name for path in paths for name in imports(ast.parse(path.read_text()))}
    others = modules - set(sys.stdlib_module_names) - FOR_TYPES - {f"arcface_{distribution}"}
    return {CALLED.get(name, name.replace("_", "-")) for name in others}


def imports(tree: ast.Module) -> Iterator[str]:
    """First part of each module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.partition(".")[0]


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", each)[0] for each in requirements}


@pytest.mark.parametrize("distribution", ["api", "faces", "operator", "trainer", "evaluator"])
def test_what_is_declared_is_what_is_imported(distribution: str) -> None:
    project = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text())["project"]
    needed = names(project["dependencies"])
    optional = names([each for extra in project.get("optional-dependencies", {}).values() for each in extra])
    assert needed <= imported(distribution) <= needed | optional
