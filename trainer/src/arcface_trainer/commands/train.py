"""`arcface train`: what the main container of a worker pod runs."""

import logging
import sys
from pathlib import Path

import click

from arcface_api.names import LOG_FORMAT
from arcface_trainer.pod.launcher import launch


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path), required=True, help="The run configuration (JSON) of the job."
)
@click.option(
    "--termination-log", type=click.Path(path_type=Path), default=None, help="Where to write the report of the end."
)
def train(config: Path, termination_log: Path | None) -> None:
    """Run the ranks of one worker pod (the operator and `arcface run` call this)."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    sys.exit(launch(config, termination_log))
