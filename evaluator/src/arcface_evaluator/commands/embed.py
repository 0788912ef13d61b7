"""`arcface embed`: embeddings of images with their names beside them."""

from pathlib import Path
from typing import Unpack

import click

from arcface_api.errors import InvalidInput
from arcface_evaluator import networks
from arcface_evaluator.commands import pairs, sources
from arcface_evaluator.sets import named_images
from arcface_faces import whole_file
from arcface_faces.datasets import dataset
from arcface_faces.embedding import parts, vectors
from arcface_faces.image_files import framing
from arcface_faces.pairs import pair_set
from arcface_faces.progress import progress_bar

FILE = pairs.FILE


@click.command()
@sources.network_options
@click.option("--images", type=FILE, help="Folder of images, or a list with the path of one in each line.")
@click.option("--records", type=FILE, help="Training set: train.rec, or a folder for each identity.")
@click.option("--bin", "bin_file", type=FILE, help="Verification set.")
@pairs.framing_options
@click.option("--dropped", type=FILE, help="CSV file to write: images that cannot be used are left out and listed.")
@click.option("-o", "--out", type=FILE, required=True, help="The .npy to write; names go to the .csv beside it.")
def embed(
    *,
    images: Path | None,
    records: Path | None,
    bin_file: Path | None,
    dropped: Path | None,
    out: Path,
    **options: Unpack["EmbedOptions"],
) -> None:
    """Write embeddings (N, 2, D) of N images, original and mirrored, and their names in the same order."""
    names_file = out.with_suffix(".csv")
    if out.suffix != ".npy":
        raise InvalidInput(f"--out {out}: the name of the embeddings ends in .npy")
    pairs.check_new(("--out", out), ("--out", names_file), ("--dropped", dropped))
    source = networks.open_source(options)
    found = _open_images(images, records, bin_file, options, may_lack=dropped is not None)
    if source is None:
        raise ValueError("embeddings of images are made by a network")
    if dropped is not None:
        found = _without_dropped(found, dropped)
    else:
        named_images.check_landmarks(found)
    with whole_file.undoing(dropped):
        with source.embedder() as embedder, progress_bar("images", len(found)) as advance:
            made = parts.embed_parts(found, lambda: embedder, advance)
            count, _, dimensions = vectors.write_embeddings(out, made, len(found))
        with whole_file.undoing(out):
            header = ["image", "identity"][: len(found.name(0))]
            pairs.write_table(names_file, [header, *map(found.name, range(len(found)))])
    click.echo(f"{out}: {count} images, {dimensions} numbers each for original and mirrored; names in {names_file}")


class EmbedOptions(networks.NetworkOptions, pairs.FramingOptions):
    """Options that other commands have, too."""


def _open_images(
    images: Path | None,
    records: Path | None,
    bin_file: Path | None,
    options: pairs.FramingOptions,
    *,
    may_lack: bool,
) -> named_images.NamedImages:
    """The images that are asked for; InvalidInput where none or several are, or options do not apply to them."""
    if sum(path is not None for path in (images, records, bin_file)) != 1:
        raise InvalidInput("give one of --images, --records and --bin")
    if options["links"] is not None and images is None:
        raise InvalidInput("--links is for --images: leave it out")
    if bin_file is not None:
        if options["landmarks"] or options["detector"]:
            raise InvalidInput("--landmarks and --detector are for --images and --records: leave them out with --bin")
        return named_images.PairImages(pair_set.read_pair_set(bin_file, pair_set.decoder(resize=options["resize"])))
    frame = framing.choose_framing(options["landmarks"], options["detector"], resize=options["resize"])
    if records is not None:
        return named_images.TrainingImages(records, dataset.open_dataset(records), frame)
    return named_images.open_files(images or Path(), options["links"], frame, may_lack=may_lack)


def _without_dropped(found: named_images.NamedImages, path: Path) -> named_images.NamedImages:
    with progress_bar("checking", len(found)) as advance:
        chosen, dropped = named_images.usable_images(found, advance)
    pairs.write_table(path, [["image", "reason"], *([found.name(number)[0], reason] for number, reason in dropped)])
    click.echo(f"{path}: {len(dropped)} of {len(found)} images are left out", err=True)
    if not len(chosen):
        raise InvalidInput(f"{path}: no image is left: its lines say why")
    return chosen
