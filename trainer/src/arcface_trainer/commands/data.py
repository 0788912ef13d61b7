"""`arcface data`: make, check and convert training sets."""

import os
from pathlib import Path

import click
import numpy as np

from arcface_api.contract.reports import DataStats
from arcface_api.errors import InvalidInput, explained, printable
from arcface_faces.datasets import convert, dataset, faults, image_folder
from arcface_faces.progress import progress_bar
from arcface_trainer.data import loader, throughput
from arcface_trainer.synth.dataset import SynthRequest, write_dataset
from arcface_trainer.synth.person import VERIFICATION

FOLDER = click.Path(path_type=Path)
THREADS = os.cpu_count() or 1
MOST, MOST_THREADS = 2**31 - 1, max(1024, THREADS)
"""Numbers that no disk, nor any machine, comes near; beyond them is a slip of the finger."""


@click.group()
def data() -> None:
    """Make, check and convert training sets."""


@data.command()
@click.argument("images", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option("--workers", type=click.IntRange(1, MOST_THREADS), default=THREADS, help="Threads that check images.")
@click.option("--skip-bad", is_flag=True, help="Leave unusable images out and count them.")
def pack(images: Path, out: Path, workers: int, skip_bad: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Pack the folder IMAGES (one subfolder of 112x112 images per identity) into OUT/train.rec."""
    with explained(images, "cannot be looked at", "correct the path"):
        is_folder = images.is_dir()
    if not is_folder:
        raise InvalidInput(f"{images}: no such folder: give the folder with one subfolder per identity")
    faces = image_folder.ImageFolderDataset.open(images, 1)
    with progress_bar("packing", len(faces.labels)) as advance:
        skipped = convert.pack_folder(faces, out, workers, advance, skip_bad=skip_bad)
    click.echo(f"{len(faces.labels) - skipped} images packed into {out}, {skipped} left out")


@data.command()
@click.argument("directory", type=FOLDER)
@click.argument("out", type=FOLDER)
def unpack(directory: Path, out: Path) -> None:
    """Write the images of DIRECTORY into one folder per identity under OUT."""
    faces = dataset.open_dataset(directory)
    with progress_bar("unpacking", len(faces.labels)) as advance:
        convert.unpack_records(faces, out, advance)
    click.echo(f"{len(faces.labels)} images of {faces.class_count} identities written to {out}")


@data.command()
@click.argument("directory", type=FOLDER)
def verify(directory: Path) -> None:
    """Read every image of DIRECTORY and decode it; what decodes with a part lost counts as a fault, too."""
    faces = dataset.open_dataset(directory)
    count = 0
    with progress_bar("verifying", len(faces.labels)) as advance:
        for fault in faults.faults(faults.StoredImages.of(faces), THREADS, advance):
            count += 1
            click.echo(fault)
    if count:
        raise InvalidInput(f"{directory}: {count} of {len(faces.labels)} images cannot be used, those named above")
    click.echo(f"{len(faces.labels)} images of {faces.class_count} identities, all decodable without complaint")


@data.command()
@click.argument("directory", type=FOLDER)
@click.option("--batch-size", type=click.IntRange(1, MOST), default=128, show_default=True, help="Images of a batch.")
@click.option("--augmentation", type=click.Choice(["none", "flip", "strong"]), default="flip", show_default=True)
@click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), default=THREADS, show_default=True, help="Threads that decode."
)
@click.option("--seconds", type=click.IntRange(1, MOST), default=20, show_default=True, help="Of loop and loader each.")
def bench(directory: Path, batch_size: int, augmentation: str, threads: int, seconds: int) -> None:
    """Images per second that DIRECTORY gives a training, beside a loop that reads and decodes alone."""
    faces = dataset.open_dataset(directory)
    if len(faces.labels) < batch_size:
        raise InvalidInput(f"--batch-size {batch_size}: {directory} has {len(faces.labels)} images: give no more")
    sampler = loader.Sampler(len(faces.labels), batch_size, seed=0)
    found = throughput.measure(faces, sampler, augmentation, threads, seconds)
    click.echo(
        f"{directory}: {threads} threads read and decode {found.decoded:.0f} images/s; batches of {batch_size} with "
        f"augmentation {augmentation} come at {found.loaded:.0f} images/s, {found.loaded / found.decoded:.2f} of it"
    )


@data.command()
@click.argument("directory", type=FOLDER)
@click.option("--min-images", type=click.IntRange(1, MOST), default=1, help="Leave identities with fewer images out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(directory: Path, min_images: int, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Count images and identities of DIRECTORY."""
    counted = _stats_of(dataset.open_dataset(directory, min_images), directory)
    click.echo(counted.to_json() if as_json else _table(counted))


@data.command()
@click.argument("out", type=FOLDER)
@click.option("--identities", type=click.IntRange(2, MOST), default=400, show_default=True, help="Training identities.")
@click.option("--images-per-identity", type=click.IntRange(1, MOST), default=20, show_default=True, help="Images each.")
@click.option(
    "--test-identities", type=click.IntRange(2, MOST), default=200, show_default=True, help="Other identities."
)
@click.option(
    "--pairs", type=click.IntRange(20, MOST), default=300, show_default=True, help="Pairs in each of the sets."
)
@click.option(
    "--seed", type=click.IntRange(0, MOST), default=0, show_default=True, help="Other seeds draw other faces."
)
def synth(out: Path, **numbers: int) -> None:
    """Draw a training set and five verification sets of other faces into OUT."""
    request = SynthRequest(**numbers)
    with progress_bar("drawing", request.steps) as advance:
        write_dataset(out, request, advance)
    drawn = request.identities * request.images_per_identity
    click.echo(f"{drawn} images of {request.identities} identities and {len(VERIFICATION)} sets drawn into {out}")


def _table(counted: DataStats) -> str:
    """The counts for people."""
    return "\n".join(
        (
            f"{counted.directory} ({counted.layout})",
            f"  images          {counted.images}",
            f"  identities      {counted.identities} ({counted.dropped_identities} left out)",
            f"  images each     {counted.fewest_images} to {counted.most_images}, median {counted.median_images:g}",
        )
    )


def _stats_of(faces: dataset.FaceDataset, directory: Path) -> DataStats:
    """Images and identities that a training would use."""
    counts = np.bincount(faces.labels)
    return DataStats(
        directory=printable(str(directory)),
        layout="folder" if isinstance(faces, image_folder.ImageFolderDataset) else "records",
        images=len(faces.labels),
        identities=faces.class_count,
        dropped_identities=faces.dropped_identities,
        fewest_images=int(counts.min()),
        median_images=float(np.median(counts)),
        most_images=int(counts.max()),
    )
