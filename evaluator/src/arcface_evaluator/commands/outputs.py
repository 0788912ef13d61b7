"""What `arcface evaluate` writes beside the lines that it prints: the document of `--json`, the page of `--report`."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from arcface_api.errors import InvalidInput, explained
from arcface_evaluator.networks import Source
from arcface_evaluator.report import document, entries
from arcface_faces.checkpoint import MANIFEST_FILE

WIDEST = 10_000
"""Columns."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a command is asked for."""

    json_file: Path | None
    report: Path | None

    def check(self, source: Source | None, inputs: Sequence[Path]) -> None:
        """InvalidInput, before anything is computed, where an output cannot be written or would replace an input."""
        if self.json_file is not None:
            _check_json(self.json_file)
        if self.report is not None:
            with explained(f"--report {self.report}", "cannot be made", "name another folder"):
                self.report.mkdir(parents=True, exist_ok=True)
        if self.json_file is not None and self.json_file.exists():
            folders = [source.checkpoint] if source is not None and source.checkpoint is not None else []
            for path in [*inputs, *folders]:
                _refuse_input(self.json_file, path)

    def write(
        self,
        measure: Callable[[], document.EvaluationFile],
        source: Path,
        hardest: Callable[[], list[entries.HardPairs]],
    ) -> None:
        """Write what was asked for; nothing is made for what was not.

        Args:
            measure: makes the numbers.
            source: the checkpoint's manifest, whose folder names the run on the page, or the file that does.
            hardest: finds the pairs that the page shows.
        """
        if self.json_file is None and self.report is None:
            return
        numbers = measure()
        if self.json_file is not None:
            numbers.write(self.json_file)
        if self.report is not None:
            name = source.parent.name if source.name == MANIFEST_FILE else source.stem
            write_page(self.report, {name: numbers}, hardest())


def print_table(table: Table) -> None:
    """Print a table as wide as it is, wherever it goes: folded numbers read like others."""
    Console(width=WIDEST).print(table)


def write_page(report: Path, runs: dict[str, document.EvaluationFile], hardest: Sequence[entries.HardPairs]) -> None:
    """Write the page of several runs and say where it is."""
    # Imported here: plotting takes long to load, and most evaluations print numbers only.
    from arcface_evaluator.report.pages import evaluation_page  # noqa: PLC0415

    click.echo(f"report: {evaluation_page.write_page(report, runs, hardest)}", err=True)


def _check_json(json_file: Path) -> None:
    with explained(f"--json {json_file}", "cannot be looked for", "name another file"):
        if not json_file.parent.is_dir():
            raise InvalidInput(f"--json {json_file}: its folder is not there; make it or name another file")
        if not os.access(json_file if json_file.exists() else json_file.parent, os.W_OK):
            raise InvalidInput(f"--json {json_file}: may not be written; name another file")


def _refuse_input(output: Path, path: Path) -> None:
    """InvalidInput where an output that exists would replace an input, or a file inside of one that is a folder."""
    with explained(path, "cannot be looked for", "correct the path"):
        is_same = path.exists() and output.samefile(path)
        if is_same or output.resolve().is_relative_to(path.resolve()):
            raise InvalidInput(f"--json {output}: would replace the input {path}; name another file")
