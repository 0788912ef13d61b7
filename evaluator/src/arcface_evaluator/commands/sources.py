"""Where a command's embeddings come from: its options, and what is made of them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from arcface_evaluator import evaluation, networks
from arcface_evaluator.sets import release, release_images
from arcface_faces.embedding import vectors

FILE = click.Path(path_type=Path)
MOST_AT_ONCE = 65_536
"""Images in a batch: 10 GB of numbers."""
NETWORK = (
    click.option("--checkpoint", type=FILE, help="A checkpoint, or a folder of checkpoints: the newest complete one."),
    click.option("--model", type=FILE, help="An ONNX or MindIR file."),
    click.option("--mean", type=float, help="Subtracted from pixels of 0 to 255, for a model that says nothing."),
    click.option("--scale", type=float, help="Divides the difference, likewise."),
    click.option("--channels", type=click.Choice(["RGB", "BGR"]), help="Likewise; RGB where it is left out."),
    click.option("--output", "output_name", help="Which output of an ONNX model holds the embeddings."),
    click.option("--batch-size", type=click.IntRange(1, MOST_AT_ONCE), help=f"{networks.BATCH_SIZE} by default."),
    click.option("--ranks", type=click.IntRange(min=1), help="Processes that embed, one a device; 1 by default."),
)
"""What embeds images."""
CACHE = click.option("--cache/--no-cache", default=None, help="Keep embeddings beside the checkpoint, as by default.")
VIEWS = click.option(
    "--views", type=click.Choice(vectors.VIEWS), help="concatenated: rows of --embeddings are [original, mirrored]."
)
RESIZE = click.option("--resize", is_flag=True, help="Scale images that are aligned and square in another size.")
JSON = click.option("--json", "json_file", type=FILE, help="Write every number to this file.")
REPORT = click.option("--report", type=FILE, help="Write a page with plots and the hardest pairs into this folder.")


Command = TypeVar("Command", bound=Callable[..., None])


def network_options(command: Command) -> Command:
    """Give a command the options of `NetworkOptions`."""
    return functools.reduce(lambda made, option: option(made), reversed(NETWORK), command)


def embed_templates(
    opened: release.TemplateSet,
    source: networks.Source | None,
    identity: Path,
    views: vectors.Views | None,
    *,
    keep: bool | None,
) -> vectors.Embeddings:
    """Embeddings of a set's images: of the network, kept beside its checkpoint, or from a file.

    Args:
        opened: the set.
        source: the network; None for a file.
        identity: what stands for the network, or the file.
        views: how a row of a file holds them.
        keep: False where embeddings are not to be kept beside a checkpoint.
    """
    if source is None:
        return vectors.read_embeddings(identity, len(opened.images), views or "separate")
    images, folder = release_images.open_images(opened), source.checkpoint
    kept = release_images.open_cache(folder, identity, opened, images) if keep is not False and folder else None
    with source.embedder() as embedder:
        return evaluation.embed_release(images, embedder, kept)
