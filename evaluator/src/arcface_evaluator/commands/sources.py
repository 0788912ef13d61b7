"""Where a command's embeddings come from: its options, and what is made of them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from arcface_api.errors import InvalidInput
from arcface_evaluator import evaluation, networks
from arcface_evaluator.sets.release import TemplateSet
from arcface_evaluator.sets.release_images import open_cache, open_images
from arcface_faces.embedding.vectors import Embeddings, read_embeddings

FILE = click.Path(path_type=Path)
MOST_AT_ONCE = 65_536
"""Images in a batch: 10 GB of numbers."""
RANKS = click.option(
    "--ranks", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that embed, one a device."
)
NETWORK = (
    click.option("--checkpoint", type=FILE, help="A checkpoint, or a folder of checkpoints: the newest complete one."),
    click.option("--model", type=FILE, help="An ONNX or MindIR file."),
    click.option("--mean", type=float, help="Subtracted from pixels of 0 to 255, for a model that says nothing."),
    click.option("--scale", type=float, help="Divides the difference, likewise."),
    click.option("--channels", type=click.Choice(["RGB", "BGR"]), default="RGB", show_default=True, help="Likewise."),
    click.option("--batch-size", type=click.IntRange(1, MOST_AT_ONCE), default=networks.BATCH_SIZE, show_default=True),
    RANKS,
)
"""What embeds images."""
CACHE = click.option(
    "--cache/--no-cache", default=True, show_default=True, help="Keep embeddings beside the checkpoint."
)
JSON = click.option("--json", "json_file", type=FILE, help="Write every number to this file.")
REPORT = click.option("--report", type=FILE, help="Write a page with plots and the hardest pairs into this folder.")


Command = TypeVar("Command", bound=Callable[..., None])


def network_options(command: Command) -> Command:
    """Give a command the options of `NetworkOptions`."""
    return functools.reduce(lambda made, option: option(made), reversed(NETWORK), command)


def one_source(network: networks.NetworkOptions, embeddings: object) -> networks.Source | None:
    """The network that is asked for; None where there are embeddings instead."""
    if sum(map(bool, (network["checkpoint"], network["model"], embeddings))) != 1:
        raise InvalidInput("give one of --checkpoint, --model and --embeddings")
    return networks.open_source(network)


def embed_templates(opened: TemplateSet, source: networks.Source | None, identity: Path, *, keep: bool) -> Embeddings:
    """Embeddings of a set's images: of the network, kept beside its checkpoint, or from a file.

    Args:
        opened: the set.
        source: the network; None for a file.
        identity: what stands for the network, or the file.
        keep: whether embeddings are kept where there is a checkpoint.
    """
    if source is None:
        return read_embeddings(identity, len(opened.images))
    images, folder = open_images(opened), source.checkpoint
    kept = open_cache(folder, identity, opened, images) if keep and folder else None
    with source.embedder() as embedder:
        return evaluation.embed_release(images, embedder, kept)
