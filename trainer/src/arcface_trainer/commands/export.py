"""`arcface export`: a checkpoint's network for other programs."""

import os
from pathlib import Path
from typing import get_args

import click

from arcface_faces.checkpoint import checkpoint_folder
from arcface_trainer.device import compute_environment
from arcface_trainer.export import Format

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--checkpoint", type=FILE, required=True, help="A checkpoint, or a folder of checkpoints.")
@click.option("--format", "form", type=click.Choice(get_args(Format)), required=True)
@click.option("-o", "--output", type=FILE, required=True, help="The file to write; it must not exist.")
def export(checkpoint: Path, form: Format, output: Path) -> None:
    """Write the network with a description of how images are prepared, and check it against the checkpoint."""
    folder = checkpoint_folder(checkpoint)
    # Read once, when MindSpore is loaded, which takes seconds.
    os.environ.update(compute_environment(os.environ, "cpu"))
    from arcface_trainer.export.network import export_network  # noqa: PLC0415

    export_network(folder, form, output)
    click.echo(f"{output}: {folder.name} as {form}")
