"""What the pages tell to type is there: commands and their options, make's targets, values of the chart, files."""

import json
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from arcface_api.command import GROUP
from arcface_operator.settings import Settings
from support.printed_commands import command_lines, printed_commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
NAMED = {"README.md", "CONTRIBUTING.md", "SECURITY.md", *(name for name in PAGES if name.startswith("docs/"))}
"""Pages that say what is true now; the list of changes tells of what was."""
COMMANDS: dict[str, click.Command] = {point.name: point.load() for point in entry_points(group=GROUP)}
SCHEMA = json.loads((ROOT / "charts" / "arcface-operator" / "values.schema.json").read_text())
DEFINITION = (ROOT / "crds" / "arcface.io_arcfacetrainingjobs.yaml").read_text()
FOLDERS = r"crds|charts|examples|release|docs|tests|(?:api|faces|operator|trainer|evaluator)/src"


def code(page: str) -> Iterator[str]:
    """What a page has in backticks or in blocks without a language, a line each."""
    yield from command_lines(page)
    without_blocks = re.sub(r"^ *```.*?^ *```$", "", page, flags=re.DOTALL | re.MULTILINE)
    yield from (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", without_blocks))


ALL = [(page, line) for page in sorted(NAMED) for line in code(PAGES[page])]


def typed() -> list[tuple[str, list[str]]]:
    """Words after `arcface` of every command line, with the page."""
    found = []
    for page, line in ALL:
        for part in re.split(r"[;|&]+ ?|\$ ", line.partition(" #")[0]):
            words = re.fullmatch(r" *(?:kubectl exec \S+ -- )?(?:sh -c ')?(?:\.venv/bin/)?arcface( .*)", part)
            if words:
                found.append((page, shlex.split(words[1].rstrip("'"))))
    return [(page, words) for page, words in found if words]


def leaf(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, and the words after it; KeyError where there is none."""
    command, rest = COMMANDS[words[0]], words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith(("-", "...")):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def numbers(command: click.Command, path: str) -> Iterator[tuple[str, click.ParamType]]:
    """Options of a command and of those below it that take a number."""
    for option in command.params:
        if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
            yield f"{path} {option.opts[0]}", option.type
    for name, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield from numbers(below, f"{path} {name}")


JUDGED_TOGETHER = ("--mean", "--scale")
"""Of pixels: refused in one line where a model's own, or not finite."""


def test_every_number_has_bounds_beyond_which_it_is_refused_in_a_line() -> None:
    """A port of 99999 and a count of twenty digits ended in a traceback."""
    found = {name: kind for command, top in COMMANDS.items() for name, kind in numbers(top, command)}
    assert {"operator --port", "data synth --seed", "await --seconds", "plan --images"} <= found.keys()
    for name, kind in found.items():
        bounds = getattr(kind, "min", None), getattr(kind, "max", None)
        assert None not in bounds or name.endswith(JUDGED_TOGETHER), name
        assert isinstance(kind, click.IntRange) or name.endswith(JUDGED_TOGETHER), f"{name} would take nan"


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999", "http", "1e3"])
def test_a_port_that_is_none_is_refused_in_a_line(port: str) -> None:
    said = CliRunner().invoke(COMMANDS["operator"], [f"--port={port}"])
    assert said.exit_code == 2
    assert said.output.splitlines()[-1].startswith("Error: Invalid value for '--port': ")


@pytest.mark.parametrize(("page", "words"), typed(), ids=lambda value: value if isinstance(value, str) else None)
def test_a_command_is_there_and_takes_these_options(page: str, words: list[str]) -> None:
    if words[0] in {"--version", "--help"}:
        return
    command, rest = leaf(words)
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    known = {option for each in commands for parameter in each.params for option in parameter.opts} | {"--help"}
    given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    assert given <= known, f"{page}: arcface {' '.join(words)}"


def leaves(command: click.Command, name: str) -> Iterator[str]:
    """Names of all commands below one."""
    if not isinstance(command, click.Group):
        yield name
        return
    for each, below in command.commands.items():
        yield from leaves(below, f"{name} {each}")


def test_every_command_is_on_the_page_of_commands() -> None:
    """Written out, or by its last word beside one that is."""
    lines = [line.removeprefix("arcface ") for line in code(PAGES["docs/commands.md"])]
    named = {" ".join(line.split()[:count]) for line in lines for count in (1, 2)}
    every = {name for top, command in COMMANDS.items() for name in leaves(command, top)}
    assert {name for name in every if not {name, name.split()[-1]} & named} == set()


@pytest.mark.parametrize("page", ["README.md", "charts/arcface-operator/README.md"])
def test_what_others_print_of_the_installation_is_what_its_page_does(page: str) -> None:
    """The page's commands are typed on a real node (`tests/cluster/real_node/test_newcomer.py`)."""
    headings = ("Helm", "The first job")
    typed_ones = {line for heading in headings for line in printed_commands("docs/install.md", heading)}
    printed = printed_commands(page, "On a cluster" if page == "README.md" else None)
    assert set(printed) - typed_ones - {"kubectl get arcfacejobs"} == set()


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {found for _, line in ALL for found in re.findall(r"\bmake ([a-z][a-z-]*[a-z])\b", line)}
    assert named - targets - {"bench"} == set()  # `make bench-…` is all of them


def is_value(path: str) -> bool:
    """Whether the chart has a value."""
    schema = SCHEMA
    for name in path.split("."):
        if "properties" not in schema:
            return "object" in schema["type"]
        if name not in schema["properties"]:
            return False
        schema = schema["properties"][name]
    return True


def test_values_of_the_chart_are_there() -> None:
    tops = "|".join(set(SCHEMA["properties"]) - {"image", "resources", "test"})
    named = {
        (page, found) for page, line in ALL for found in re.findall(rf"^((?:{tops})\.(?!yaml|py)[A-Za-z.]+)", line)
    }
    named |= {(page, found) for page, line in ALL for found in re.findall(r"--set[= ]'?([A-Za-z][A-Za-z.]+)", line)}
    assert len(named) > 30
    assert {each for each in named if not is_value(each[1])} == set()


def test_periods_and_bounds_are_settings_or_fields() -> None:
    settings = {field.alias or name for name, field in Settings.model_fields.items()}
    fields = set(re.findall(r"^ +(\w+):", DEFINITION, re.MULTILINE))
    pattern = r"^([a-z]+(?:[A-Z][a-z]+)*(?:Seconds|Restarts|Errors))\b"
    named = {(page, found) for page, line in ALL for found in re.findall(pattern, line)}
    assert len({found for _, found in named}) > 12
    of_kubernetes = {"tolerationSeconds"}
    assert {each for each in named if each[1] not in settings | fields | of_kubernetes} == set()


def test_files_are_there() -> None:
    pattern = rf"^((?:{FOLDERS})/[\w./-]+)$"
    named = {(page, found) for page, line in ALL for found in re.findall(pattern, line)}
    assert len(named) > 30
    assert {each for each in named if not (ROOT / each[1]).exists()} == set()
