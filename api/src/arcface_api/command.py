"""The `arcface` command: hands over to the subcommand that an installed distribution offers.

Each image installs only its own distributions, so subcommands are found by the entry-point group
`arcface.commands` (click commands). This module needs the standard library only.
"""

import os
import platform
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from io import TextIOWrapper
from typing import Protocol

from arcface_api.errors import ArcFaceError, ExitCode

GROUP = "arcface.commands"
REVISION = "ARCFACE_REVISION"
"""Set in an image: the commit that it was built from."""


class Command(Protocol):
    """The part of a click command that is used here."""

    def main(self, args: Sequence[str], prog_name: str) -> object:
        """Run with these arguments; may raise SystemExit."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """First sentence of the command's help."""


def main() -> None:
    """Entry point of the console script."""
    # As the first process of a container it would ignore SIGTERM until some command takes it over.
    signal.signal(signal.SIGTERM, _on_sigterm)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text; standard error does so
    sys.exit(run(sys.argv[1:]))


def _on_sigterm(_number: int, _frame: object) -> None:
    # No Exception: those that come out of nowhere are swallowed here and there, by importlib.metadata for one.
    sys.exit(ExitCode.STOPPED)


def run(argv: Sequence[str]) -> int:
    """Run one subcommand and return its exit status; errors of ours become one line on stderr."""
    try:
        return _run(argv)
    except ArcFaceError as error:
        sys.stderr.write(f"arcface {' '.join(argv[:1])}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:  # while the command is loaded; from then on click says so
        sys.stderr.write("Aborted!\n")
        return ExitCode.FAILED


def _run(argv: Sequence[str]) -> int:
    """Find the subcommand and run it."""
    offered = {point.name: point for point in entry_points(group=GROUP)}
    if not argv or argv[0] in {"-h", "--help"}:
        sys.stdout.write(_usage(offered))
        return ExitCode.DONE
    if argv[0] == "--version":
        sys.stdout.write(f"{_versions()}\n")
        return ExitCode.DONE
    name, *args = argv
    if name not in offered:
        sys.stderr.write(f"arcface: no command {name!r} here; installed: {', '.join(sorted(offered)) or 'none'}\n")
        return ExitCode.INVALID_INPUT
    command: Command = offered[name].load()
    command.main(args=args, prog_name=f"arcface {name}")
    return ExitCode.DONE


def _usage(offered: dict[str, EntryPoint]) -> str:
    """Text of `arcface --help`: one line for each installed subcommand."""
    width = max(map(len, offered), default=0)
    lines = [f"  {name:<{width}}  {_summary(offered[name])}" for name in sorted(offered)]
    return "\n".join(["Usage: arcface COMMAND [OPTIONS]", "       arcface --version", "", "Commands:", *lines, ""])


def _versions() -> str:
    """What a report of a fault must name, in one line."""
    parts = [f"arcface {version('arcface-api')}", f"Python {platform.python_version()}"]
    if revision := os.environ.get(REVISION):
        parts.insert(1, f"commit {revision}")
    try:
        parts.append(f"MindSpore {version('mindspore')}")
    except PackageNotFoundError:
        parts.append("no MindSpore")
    return ", ".join(parts)


def build_labels() -> dict[str, str]:
    """Labels of the metric arcface_build_info: what runs here."""
    return {"version": version("arcface-api"), "revision": os.environ.get(REVISION) or "unknown"}


def _summary(point: EntryPoint) -> str:
    """One line of help for a subcommand."""
    command: Command = point.load()
    return command.get_short_help_str(limit=90)
