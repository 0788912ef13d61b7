"""What `arcface evaluate` writes beside the lines that it prints: the document of `--json`, the page of `--report`."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from arcface_api.errors import InvalidInput, explained
from arcface_evaluator import evaluation, networks
from arcface_evaluator.report import document, entries, whole_file
from arcface_faces.checkpoint import MANIFEST_FILE

WIDEST = 10_000
"""Columns."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a command is asked for."""

    json_file: Path | None
    report: Path | None

    def check(self, source: networks.Source | None, inputs: Sequence[Path]) -> None:
        """InvalidInput, before anything is computed, where an output cannot be written or would replace an input."""
        if self.report is not None:
            with explained(f"--report {self.report}", "cannot be made", "name another folder"):
                self.report.mkdir(parents=True, exist_ok=True)
                if not os.access(self.report, os.W_OK | os.X_OK):
                    raise InvalidInput(f"--report {self.report}: may not be written; name another folder")
        if self.json_file is None:
            return
        whole_file.check_writable(self.json_file, "--json")
        if self.json_file != whole_file.STDOUT and self.json_file.exists():
            folders = [source.checkpoint] if source is not None and source.checkpoint is not None else []
            for path in [*inputs, *folders]:
                _refuse_input(self.json_file, path)

    def deliver(self, evaluated: Iterable[evaluation.Evaluated], source: Path) -> None:
        """Show what is found, set by set, and write what was asked for; nothing is made for what was not.

        Args:
            evaluated: the sets, as they are done; the document has those that are.
            source: the checkpoint's manifest, whose folder names the run on the page, or the file that does.
        """
        documents, hardest = list[document.EvaluationFile](), list[entries.HardPairs]()
        for done in evaluated:
            if self.json_file is not None or self.report is not None:
                documents.append(done.document())
            if self.json_file is not None and whole_file.is_replaced(self.json_file):
                self._write_json(documents)
            if done.finding is not None:
                self.show(done.finding.shown)
                hardest += done.finding.hardest() if self.report is not None else []
        if self.json_file is not None and not whole_file.is_replaced(self.json_file):
            self._write_json(documents)
        if self.report is not None:
            name = source.parent.name if source.name == MANIFEST_FILE else source.stem
            write_page(self.report, {name: document.EvaluationFile.joined(documents)}, hardest)

    def _write_json(self, documents: Sequence[document.EvaluationFile]) -> None:
        if self.json_file is not None:
            document.EvaluationFile.joined(documents).write(self.json_file)

    def show(self, shown: str | Table) -> None:
        """Print what was found; to standard error where the document goes to standard output.

        Whoever reads it may have left, as `head` does: what goes into files is made all the same.
        """
        try:
            click.echo(
                shown if isinstance(shown, str) else text_of(_narrowed(shown)), err=self.json_file == whole_file.STDOUT
            )
        except BrokenPipeError:
            if self.json_file is None and self.report is None:
                raise
            whole_file.close_stdout()


def _narrowed(table: Table) -> Table:
    """A table of many rates, so that it fits into 80 columns."""
    table.box, table.padding, table.pad_edge = box.SIMPLE_HEAD, (0, 1, 0, 0), False
    return table


def text_of(table: Table) -> str:
    """A table as wide as it is, wherever it goes: folded numbers read like others."""
    written = io.StringIO()
    Console(width=WIDEST, file=written).print(table)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def print_table(table: Table) -> None:
    """Print a table to standard output."""
    click.echo(text_of(table))


def write_page(report: Path, runs: dict[str, document.EvaluationFile], hardest: Sequence[entries.HardPairs]) -> None:
    """Write the page of several runs and say where it is."""
    # Imported here: plotting takes long to load, and most evaluations print numbers only.
    from arcface_evaluator.report.pages import evaluation_page  # noqa: PLC0415

    click.echo(f"report: {evaluation_page.write_page(report, runs, hardest)}", err=True)


def _refuse_input(output: Path, path: Path) -> None:
    """InvalidInput where an output that exists would replace an input, or a file inside of one that is a folder."""
    with explained(path, "cannot be looked for", "correct the path"):
        is_same = path.exists() and output.samefile(path)
        if is_same or output.resolve().is_relative_to(path.resolve()):
            raise InvalidInput(f"--json {output}: would replace the input {path}; name another file")
