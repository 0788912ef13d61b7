"""What `arcface evaluate` writes beside the lines that it prints: the document of `--json`, the page of `--report`."""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import click
from rich import box, cells, console
from rich.table import Column, Table

from arcface_api.errors import InvalidInput, explained, printable
from arcface_evaluator import evaluation
from arcface_evaluator.commands import sources
from arcface_evaluator.report import document, entries
from arcface_faces import whole_file

WIDTH, WIDEST, LONGEST_WORD = 80, 10_000, 8
"""Columns: of a table as a rule and at most, and of a word that is not broken."""
WIDEST_NAME = 33
"""Of the first column where a table has to be divided, with its edges."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a command is asked for."""

    json_file: Path | None
    report: Path | None

    @classmethod
    def of(cls, options: sources.JudgingOptions) -> Self:
        """Those of a command."""
        return cls(options["json_file"], options["report"])

    def judge(
        self, tasks: Sequence[evaluation.SetTask], source: sources.EmbeddingSource, inputs: Sequence[Path]
    ) -> None:
        """Show what is found, set by set, and write what was asked for; nothing is made for what was not.

        Args:
            tasks: the sets, as they have been checked.
            source: what they are judged with.
            inputs: files that were opened beside those of the source.

        Raises:
            InvalidInput: before anything is computed, where an output cannot be written or would replace an input.
        """
        self._check([*inputs, *source.files, *([] if source.checkpoint is None else [source.checkpoint])])
        if self.json_file is None and self.report is None:
            for task in tasks:
                self.show(task.judge().shown)
            return
        documents, hardest = list[document.EvaluationFile](), list[entries.HardPairs]()
        checkpoint = None if source.checkpoint is None else printable(str(source.checkpoint))
        for done in evaluation.evaluate(tasks, checkpoint):
            documents.append(done.document)
            if self.json_file is not None and whole_file.is_replaced(self.json_file):
                self._write_json(documents)
            if done.finding is not None:
                self.show(done.finding.shown)
                hardest += done.finding.pairs_to_show() if self.report is not None else []
        if self.json_file is not None and not whole_file.is_replaced(self.json_file):
            self._write_json(documents)
        if self.report is not None:
            write_page(self.report, {source.run_name: document.EvaluationFile.joined(documents)}, hardest)

    def _check(self, inputs: Sequence[Path]) -> None:
        if self.report is not None:
            with explained(f"--report {self.report}", "cannot be made", "name another folder"):
                self.report.mkdir(parents=True, exist_ok=True)
                if not os.access(self.report, os.W_OK | os.X_OK):
                    raise InvalidInput(f"--report {self.report}: may not be written; name another folder")
        if self.json_file is None:
            return
        whole_file.check_writable(self.json_file, "--json")
        if self.json_file != whole_file.STDOUT and self.json_file.exists():
            for path in inputs:
                _refuse_input(self.json_file, path)

    def _write_json(self, documents: Sequence[document.EvaluationFile]) -> None:
        if self.json_file is not None:
            document.EvaluationFile.joined(documents).write(self.json_file)

    def show(self, shown: str | Table) -> None:
        """Print what was found; to standard error where the document goes to standard output.

        Whoever reads it may have left, as `head` does: what goes into files is made all the same.
        """
        text = shown if isinstance(shown, str) else text_of(narrowed(shown))
        try:
            click.echo(text, err=self.json_file == whole_file.STDOUT)
        except BrokenPipeError:
            if self.json_file is None and self.report is None:
                raise
            whole_file.close_stdout()


def text_of(table: Table) -> str:
    """A table as wide as it is, wherever it goes; names from outside are text, whatever brackets they hold."""
    written = io.StringIO()
    _console(written).print(table)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _console(written: io.StringIO) -> console.Console:
    return console.Console(width=WIDEST, file=written, markup=False, emoji=False, highlight=False)


def narrowed(table: Table) -> Table:
    """A table of figures in 80 columns: headings and words fold where it has more, numbers never do.

    It is wider only where its numbers are.
    """
    table.box, table.padding, table.pad_edge = box.SIMPLE_HEAD, (0, 1, 0, 0), False
    if _console(io.StringIO()).measure(table).maximum > WIDTH:
        table.padding = 0
        table.width = max(WIDTH, _fix_numbers(table))
    return table


def _fix_numbers(table: Table) -> int:
    """Give columns of numbers the room that they need; what the table needs then, with that for a word in others."""
    needed = 1  # of the edge; what separates two columns is their own
    for column in table.columns:
        column.overflow = "fold"
        words = str(column.header).split()
        if column.justify == "right":
            column.width = max(map(cells.cell_len, [*words, *map(str, column.cells)]), default=0)
        else:
            words += [word for cell in column.cells for word in str(cell).split()]
        needed += 1 + (column.width or min(LONGEST_WORD, max(map(cells.cell_len, words), default=0)))
    return needed


def print_table(table: Table) -> None:
    """Print a table to standard output; one that is wider than 80 columns as several that begin with the first one."""
    for part in _parts(table):
        click.echo(text_of(part))


def _parts(table: Table) -> Iterator[Table]:
    first, *others = table.columns
    room, shown = WIDTH - 1 - min(_width_of(first), WIDEST_NAME), list[Column]()
    for column in others:
        if shown and sum(map(_width_of, [*shown, column])) > room:
            yield _with_columns(table, [first, *shown])
            shown = []
        shown.append(column)
    yield _with_columns(table, [first, *shown])


def _width_of(column: Column) -> int:
    """With what separates it from the next one."""
    return 3 + max(map(cells.cell_len, [str(column.header), *map(str, column.cells)]))


def _with_columns(table: Table, columns: Sequence[Column]) -> Table:
    """Some columns of a table; names fold where they are too long for 80 columns."""
    part = Table(title=table.title)
    for column in columns:
        part.add_column(column.header, justify=column.justify, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        part.add_row(*row)
    if _console(io.StringIO()).measure(part).maximum > WIDTH:
        part.width = WIDTH
    return part


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
