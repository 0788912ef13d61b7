"""`arcface history`: the course of trainings, read from what they wrote beside their checkpoints."""

from pathlib import Path

import click

from arcface_evaluator.commands.outputs import print_table
from arcface_evaluator.report import history_table

FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("folders", metavar="DIR...", type=FOLDER, nargs=-1, required=True)
@click.option("--report", type=FOLDER, help="Draw the curves on a page in this folder.")
@click.option("--tensorboard", type=FOLDER, help="Write event files for TensorBoard into this folder.")
def history(folders: tuple[Path, ...], report: Path | None, tensorboard: Path | None) -> None:
    """Show the course of trainings: loss, learning rate, speed, waits, accuracy.

    Each DIR is a folder of a job's checkpoints, which need not be there any more: history.jsonl is enough.
    """
    histories = history_table.read_histories(folders)
    print_table(history_table.runs_table(histories))
    for name, read in histories.items():
        print_table(history_table.epochs_table(name, read))
        if read.unreadable:
            click.echo(f"{name}: lines that cannot be read: {read.unreadable}", err=True)
    if tensorboard is not None:
        from arcface_evaluator.report import event_files  # noqa: PLC0415 - most who look at a history want no others

        event_files.write_event_files(tensorboard, histories)
        click.echo(f"event files: tensorboard --logdir {tensorboard}", err=True)
    if report is not None:
        # Imported here: plotting takes long to load.
        from arcface_evaluator.report.pages import history_page  # noqa: PLC0415

        click.echo(f"report: {history_page.write_page(report, histories)}", err=True)
