"""Where a command's embeddings come from: its options, and what is made of them."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from arcface_evaluator import networks, verifying
from arcface_evaluator.sets import release, release_images
from arcface_faces.embedding import embedder, vectors

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
JSON = click.option("--json", "json_file", type=FILE, help="Write every number to this file; - is standard output.")
REPORT = click.option("--report", type=FILE, help="Write a page with plots and the hardest pairs into this folder.")


Command = TypeVar("Command", bound=Callable[..., None])


def network_options(command: Command) -> Command:
    """Give a command the options of `NetworkOptions`."""
    return functools.reduce(lambda made, option: option(made), reversed(NETWORK), command)


def checkpoint_name(source: networks.Source | None) -> str | None:
    """How documents name the checkpoint; None where there is none."""
    return None if source is None or source.checkpoint is None else str(source.checkpoint)


@contextmanager
def opened_when_needed(source: networks.Source | None) -> Iterator[Callable[[], embedder.Embedder]]:
    """What loads the network once, when its first images come; nothing does where embeddings come from a file."""
    with ExitStack() as stack:

        @functools.cache
        def network() -> embedder.Embedder:
            if source is None:
                raise ValueError("embeddings come from a file")
            return stack.enter_context(source.embedder())

        yield network


@dataclass(frozen=True, slots=True)
class TemplateEmbeddings:
    """Where the embeddings of a set of templates come from."""

    embed: Callable[[], vectors.Embeddings]
    images: release_images.ReleaseImages | None
    """What is embedded; None where the embeddings come from a file."""

    @classmethod
    def from_file(cls, opened: release.TemplateSet, file: Path, views: vectors.Views | None) -> "TemplateEmbeddings":
        """A row for each image; `views` says how it holds them."""
        return cls(functools.partial(vectors.read_embeddings, file, len(opened.images), views or "separate"), None)

    @classmethod
    def from_network(
        cls,
        opened: release.TemplateSet,
        source: networks.Source,
        network: Callable[[], embedder.Embedder],
        *,
        keep: bool | None,
    ) -> "TemplateEmbeddings":
        """Of a network, and kept beside its checkpoint unless `keep` is False."""
        images, folder = release_images.open_images(opened), source.checkpoint

        def embed() -> vectors.Embeddings:
            place = None if keep is False else folder
            cache = None if place is None else release_images.open_cache(place, source.identity, opened, images)
            return release_images.cached_embeddings(cache, functools.partial(verifying.embed_all, images, network))

        return cls(embed, images)
