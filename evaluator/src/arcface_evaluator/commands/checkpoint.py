"""`arcface checkpoint`: what checkpoints hold, whether they are whole, and their heads in another number of files."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from rich.table import Table

from arcface_api.errors import InvalidInput, explained
from arcface_api.resource.status import Verification
from arcface_evaluator.commands.outputs import text_of
from arcface_evaluator.evaluation import EMBEDDINGS
from arcface_faces import checkpoint as checkpoints, checkpoint_writing

FOLDER = click.Path(path_type=Path)
MOST_FILES = 640_000
"""A file a rank: 10,000 pods with 64 each."""
directory_argument = click.argument("directory", metavar="DIR", type=FOLDER)


@click.group()
def checkpoint() -> None:
    """Look into checkpoints: show, verify, reshard."""


@checkpoint.command()
@directory_argument
def show(directory: Path) -> None:
    """Tell what a checkpoint holds; of a folder of checkpoints, a line for each."""
    folders = _checkpoints(directory)
    if not _is_checkpoint(directory):
        click.echo("\n".join(_overview(folders)))
        return
    manifest = checkpoints.read_manifest(directory)
    facts = [*_facts(manifest), *_kept_embeddings(directory)]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name:<{width}} {value}")
    click.echo(text_of(_files_table(manifest)))


@checkpoint.command()
@directory_argument
def verify(directory: Path) -> None:
    """Read every byte of a checkpoint, or of all in a folder, and name what is damaged.

    Exit code 2 where anything is.
    """
    folders = _checkpoints(directory)
    damaged = [folder for folder in folders if not _is_sound(folder)]
    if damaged:
        names = ", ".join(folder.name for folder in damaged)
        raise InvalidInput(f"{directory}: {len(damaged)} of {len(folders)} damaged: {names}: use another checkpoint")


@checkpoint.command()
@directory_argument
@click.option("--ranks", type=click.IntRange(1, MOST_FILES), required=True, help="Files to write the head in.")
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder of checkpoints that takes the new one.")
def reshard(directory: Path, ranks: int, output: Path) -> None:
    """Write a checkpoint anew, its class centres in a file for each of so many ranks; 1 puts all into one.

    A training needs it not: any number of ranks goes on from any checkpoint. Of a folder of checkpoints the newest is
    taken.
    """
    source = checkpoints.checkpoint_folder(directory)
    written = checkpoint_writing.reshard(source, ranks, output)
    click.echo(f"{written}: {ranks} files of class centres, read back and equal to {source}")


def _is_checkpoint(directory: Path) -> bool:
    """Whether a folder is a checkpoint, if a damaged one, rather than a folder of some."""
    with explained(directory, "cannot be looked into", "correct the path"):
        return (directory / checkpoints.MANIFEST_FILE).is_file() or checkpoints.step_of(directory.absolute()) >= 0


def _checkpoints(directory: Path) -> list[Path]:
    """The folder itself where it is a checkpoint, else those inside, newest first; InvalidInput where there is none."""
    folders = [directory] if _is_checkpoint(directory) else checkpoints.checkpoints(directory)
    if not folders:
        raise InvalidInput(f"{directory}: holds no checkpoint; give one, or the folder of a job's checkpoints")
    return folders


def _overview(folders: Iterable[Path]) -> list[str]:
    """A table with a row for each complete checkpoint, if there are any, and the faults of all others."""
    table, faults = Table(), []
    for heading in ("checkpoint", "epoch", "saved", "ranks", "size", "accuracy", "best so far"):
        table.add_column(heading, justify="left" if heading == "checkpoint" else "right")
    for folder in folders:
        try:
            manifest = checkpoints.read_manifest(folder)
        except InvalidInput as error:
            kind = "incomplete: " if isinstance(error, checkpoints.Damaged) else ""
            faults.append(f"{folder.name}: {kind}{str(error).removeprefix(f'{folder}/')}")
            continue
        table.add_row(
            folder.name,
            str(manifest.epoch),
            f"{manifest.saved_at:%Y-%m-%d %H:%M}",
            str(manifest.world_size),
            _size(manifest),
            _accuracy(manifest.verification),
            "" if manifest.best is None else f"step {manifest.best.step}",
        )
    return [*([text_of(table)] if table.row_count else []), *faults]


def _facts(manifest: checkpoints.CheckpointManifest) -> Iterator[tuple[str, object]]:
    """What a manifest says, and the recipe by the names of its fields."""
    yield "job", manifest.job
    yield "step", f"{manifest.step:,} of {manifest.total_steps:,}, epoch {manifest.epoch}"
    yield "saved", f"{manifest.saved_at:%Y-%m-%d %H:%M:%S %Z}"
    yield "ranks", manifest.world_size
    yield "trained on", f"{manifest.image_count:,} images of {manifest.class_count:,} identities"
    yield "total batch", manifest.total_batch_size
    yield "seed", manifest.seed
    yield "network", manifest.model.to_json()
    if manifest.loss_scale is not None:
        yield "loss scale", f"{manifest.loss_scale.scale:g}"
    if (source := manifest.source) is not None:
        yield "began with", f"step {source.step:,} of {source.job} ({source.sha256[:12]}...), its head {source.head}"
    if manifest.roll_back is not None:
        yield "rolled back", f"the training {manifest.roll_back.in_words}"
    for name, verification in (("verification", manifest.verification), ("best", manifest.best)):
        if verification is not None:
            accuracies = ", ".join(f"{result.dataset} {result.accuracy:.5f}" for result in verification.results)
            yield name, f"step {verification.step}: {accuracies}"
    for name, value in sorted((manifest.recipe or {}).items()):
        yield f"recipe {name}", json.dumps(value)


def _kept_embeddings(directory: Path) -> Iterator[tuple[str, object]]:
    """The sets whose embeddings evaluations keep beside a checkpoint, and the room that they take."""
    with explained(directory / EMBEDDINGS, "cannot be looked into", "give this user the right to read it"):
        for folder in sorted((directory / EMBEDDINGS).glob("*/")):
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            yield "embeddings", f"{folder.name}, {size / 2**20:,.1f} MiB"


def _files_table(manifest: checkpoints.CheckpointManifest) -> Table:
    """Files with what is in them."""
    table = Table()
    for heading in ("file", "bytes", "tensors", "classes", "SHA-256"):
        table.add_column(heading, justify="right" if heading in {"bytes", "tensors", "classes"} else "left")
    for entry in manifest.files:
        first = entry.first_class
        classes = "" if first is None else f"{first} to {first + entry.class_count - 1}"
        table.add_row(entry.name, f"{entry.size:,}", str(len(entry.tensors)), classes, f"{entry.sha256[:12]}...")
    return table


def _is_sound(folder: Path) -> bool:
    """Read a checkpoint and print what is damaged of it, or that nothing is; an error where it cannot be read."""
    try:
        manifest = checkpoints.parse_manifest(folder)
        found = list(checkpoints.damages(folder, manifest))
    except checkpoints.Damaged as error:
        click.echo(str(error))
        return False
    for damage in found:
        click.echo(damage)
    if not found:
        click.echo(f"{folder.name}: sound, {len(manifest.files)} files, {_size(manifest)}")
    return not found


def _size(manifest: checkpoints.CheckpointManifest) -> str:
    return f"{sum(entry.size for entry in manifest.files) / 2**20:,.1f} MiB"


def _accuracy(verification: Verification | None) -> str:
    """The mean accuracy of the last verification; nothing where there was none."""
    return "" if verification is None else f"{verification.mean_accuracy:.5f} at step {verification.step}"
