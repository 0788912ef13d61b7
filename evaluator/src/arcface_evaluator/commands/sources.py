"""Where a command's embeddings come from: its options, and what is made of them."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from arcface_api.errors import InvalidInput, printable
from arcface_evaluator import networks, verifying
from arcface_evaluator.sets import release, release_images
from arcface_faces.embedding import embedder, vectors
from arcface_faces.image_files import tree

FILE = click.Path(path_type=Path)
MOST_AT_ONCE = 65_536
"""Images in a batch: 10 GB of numbers."""
MOST_RANKS = 1024
NETWORK = (
    click.option("--checkpoint", type=FILE, help="A checkpoint, or a folder of checkpoints: the newest complete one."),
    click.option("--model", type=FILE, help="An ONNX or MindIR file."),
    click.option("--mean", type=float, help="Subtracted from pixels of 0 to 255, for a model that says nothing."),
    click.option("--scale", type=float, help="Divides the difference, likewise."),
    click.option("--channels", type=click.Choice(["RGB", "BGR"]), help="Likewise; RGB where it is left out."),
    click.option("--output", "output_name", help="Which output of an ONNX model holds the embeddings."),
    click.option("--batch-size", type=click.IntRange(1, MOST_AT_ONCE), help=f"{networks.BATCH_SIZE} by default."),
    click.option(
        "--ranks", type=click.IntRange(1, MOST_RANKS), help="Processes that embed, one a device; 1 by default."
    ),
)
"""What embeds images."""
ROOT = click.option("--root", type=FILE, required=True, help="Folder of the set, such as IJB_release/IJBC.")
CACHE = click.option("--cache/--no-cache", default=None, help="Keep embeddings beside the checkpoint, as by default.")
LINKS = click.option("--links", type=click.Choice(tree.LINKS), help="Where links of images lead; inside by default.")
RESIZE = click.option("--resize", is_flag=True, help="Scale images that are aligned and square in another size.")
FILES_OF_EMBEDDINGS = click.option(
    "--embeddings", type=FILE, multiple=True, help=".npy (N, D) or (N, 2, D), one for each set."
)
JUDGING = (
    click.option(
        "--views", type=click.Choice(vectors.VIEWS), help="concatenated: rows of --embeddings are [original, mirrored]."
    ),
    click.option("--json", "json_file", type=FILE, help="Write every number to this file; - is standard output."),
    click.option("--report", type=FILE, help="Write a page with plots and the hardest pairs into this folder."),
)
"""How embeddings are read, and what is made of what they show."""

Command = TypeVar("Command", bound=Callable[..., None])
T = TypeVar("T")


def _one_file(_context: click.Context, _option: click.Parameter, file: Path | None) -> tuple[Path, ...]:
    return () if file is None else (file,)


FILE_OF_EMBEDDINGS = click.option(
    "--embeddings", type=FILE, callback=_one_file, help=".npy (N, D) or (N, 2, D), a row for each image."
)


class JudgingOptions(networks.NetworkOptions):
    """Options of the commands that judge sets."""

    embeddings: tuple[Path, ...]
    views: vectors.Views | None
    json_file: Path | None
    report: Path | None


def unless_shown(options: JudgingOptions, value: T) -> T | None:
    """An option about the images of a set, which apply without a network, too, where a page shows some."""
    return value if options["report"] is None else None


def network_options(command: Command) -> Command:
    """Give a command the options of `NetworkOptions`."""
    return _with_options(NETWORK, command)


def judging_options(embeddings: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Give a command the options of `JudgingOptions`, of which one says how many files of embeddings there are."""
    return functools.partial(_with_options, (*NETWORK, embeddings, *JUDGING))


def _with_options(options: tuple[Callable[[Any], Any], ...], command: Command) -> Command:
    return functools.reduce(lambda made, option: option(made), reversed(options), command)


@dataclass(frozen=True, slots=True)
class TemplateEmbeddings:
    """Where the embeddings of a set of templates come from."""

    embed: Callable[[], vectors.Embeddings]
    images: release_images.ReleaseImages | None
    """What is embedded; None where the embeddings come from a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSource:
    """A network that is loaded once, when its first images come, or files of embeddings in its place."""

    network: networks.Source | None
    embeddings: tuple[Path, ...]
    views: vectors.Views
    """How a row of those files holds the views of an image."""
    keep: bool
    """Whether embeddings of templates are kept beside the checkpoint."""
    load: Callable[[], embedder.Embedder]

    @property
    def files(self) -> tuple[Path, ...]:
        """What the embeddings depend on."""
        return self.embeddings if self.network is None else self.network.files

    @property
    def checkpoint(self) -> Path | None:
        """Folder of the checkpoint, if it is one."""
        return None if self.network is None else self.network.checkpoint

    @property
    def run_name(self) -> str:
        """How pages call what is judged."""
        return printable(self.files[0].stem if self.checkpoint is None else self.checkpoint.name)

    def check_count(self, sets: int) -> None:
        """InvalidInput where there are files of embeddings, but not one for each set."""
        if self.network is None and len(self.embeddings) != sets:
            raise InvalidInput(
                f"{sets} sets but {len(self.embeddings)} files of embeddings: give one --embeddings for each set"
            )

    def files_of(self, place: int) -> tuple[Path, ...]:
        """What the embeddings of one of several sets depend on."""
        return self.embeddings[place : place + 1] if self.network is None else self.network.files

    def embed(self, images: verifying.NamedImages | None, rows: int, place: int = 0) -> vectors.Embeddings:
        """Embeddings (rows, V, D) of one of several sets; its images are needed by a network only."""
        if images is None or self.network is None:
            return vectors.read_embeddings(self.embeddings[place], rows, self.views)
        return verifying.embed_all(images, self.load)

    def templates(self, opened: release.TemplateSet) -> TemplateEmbeddings:
        """Those of a set of templates; from a network they are kept beside its checkpoint."""
        if self.network is None:
            return TemplateEmbeddings(functools.partial(self.embed, None, len(opened.images)), None)
        images, place = release_images.open_images(opened), None
        if self.keep and self.checkpoint is not None:
            accelerator = functools.partial(networks.found_accelerator, self.checkpoint)
            place = verifying.EmbeddingsPlace(self.checkpoint, accelerator)
        embed = functools.partial(verifying.embed_templates, opened, images, self.load, self.files, place)
        return TemplateEmbeddings(embed, images)


@contextmanager
def opened_source(options: JudgingOptions, *, cache: bool | None = None, **others: object) -> Iterator[EmbeddingSource]:
    """What is judged, checked as far as that goes before it is loaded; InvalidInput where options do not apply."""
    network = networks.open_source(options, cache=cache, **others)
    with ExitStack() as stack:

        @functools.cache
        def load() -> embedder.Embedder:
            if network is None:
                raise ValueError("embeddings come from a file")
            return stack.enter_context(network.embedder())

        yield EmbeddingSource(
            network=network,
            embeddings=options["embeddings"],
            views=options["views"] or "separate",
            keep=cache is not False,
            load=load,
        )
