"""`arcface pairs make` and `join`: verification sets from images, or from others; options of all that read images."""

import csv
import functools
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

import click

from arcface_api.errors import InvalidInput, explained
from arcface_faces import whole_file
from arcface_faces.image_files import framing, tree
from arcface_faces.pairs import groups, joining, pair_list, pair_set

FILE = click.Path(path_type=Path)
Command = TypeVar("Command", bound=Callable[..., None])
OPTIONS = (
    click.option("--landmarks", type=FILE, help="Align by this list: image x1 y1 ... x5 y5."),
    click.option("--detector", type=FILE, help="Align by the landmarks that this ONNX model (YuNet) finds."),
    click.option("--resize", is_flag=True, help="Scale images that are aligned and square in another size."),
    click.option("--links", type=click.Choice(tree.LINKS), help="Where links of --images lead; inside by default."),
)


class FramingOptions(TypedDict):
    """How images become 112x112, and which are read."""

    landmarks: Path | None
    detector: Path | None
    resize: bool
    links: tree.Links | None


def framing_options(command: Command) -> Command:
    """Give a command the options of `FramingOptions`."""
    return functools.reduce(lambda made, option: option(made), reversed(OPTIONS), command)


@click.group()
def pairs() -> None:
    """Make verification sets."""


@pairs.command()
@click.option(
    "--list", "list_file", type=FILE, required=True, help="Table first,second,same[,group] or LFW's pairs.txt."
)
@click.option("--images", type=FILE, required=True, help="Folder of the images that the list names.")
@framing_options
@click.option("-o", "--output", type=FILE, required=True, help="The .bin to write; it must not exist.")
@click.option("--dropped", type=FILE, help="CSV file to write, for the pairs that are left out and why; likewise.")
def make(
    *, list_file: Path, images: Path, dropped: Path | None, output: Path, **options: Unpack[FramingOptions]
) -> None:
    """Write the pairs of a list, in its order: aligned images as they are, others as they are aligned or resized."""
    with explained(images, "cannot be looked into", "correct --images"):
        if not images.is_dir():
            raise InvalidInput(f"{images}: is no folder; correct --images")
    check_new(*_files_of(output), ("--dropped", dropped))
    frame = framing.choose_framing(options["landmarks"], options["detector"], resize=options["resize"])
    folder = tree.ImageTree(images, options["links"] or "inside")
    made = pair_list.make_set(pair_list.read_list(list_file), folder, frame)
    if dropped is not None:
        write_table(dropped, [["line", "first", "second", "same", "reason"], *map(_dropped_row, made.dropped)])
    made.check()
    with whole_file.undoing(dropped):
        _write_set(output, made.images, made.is_same, made.groups)
    click.echo(f"{output}: {made.account()}")
    for entry in made.dropped[:3]:
        click.echo(f"line {entry.pair.line}: {entry.reason}", err=True)


@pairs.command()
@click.argument("sets", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="The .bin to write; it must not exist.")
def join(*, sets: tuple[Path, ...], output: Path) -> None:
    """Write SETS, such as RFW's four, as one whose groups they are, each called as its file."""
    if len(sets) < 2:
        raise InvalidInput(f"{sets[0]}: give two sets at least")
    check_new(*_files_of(output))
    images, is_same, names = joining.join(pair_set.open_sets(sets))
    _write_set(output, images, is_same, names)
    click.echo(f"{output}: {len(is_same)} pairs in {len(sets)} groups")


def _files_of(output: Path) -> list[tuple[str, Path]]:
    """What is written of a set, by the option that names it."""
    return [("--output", output), ("--output", groups.groups_file(output))]


def _write_set(output: Path, images: list[bytes], is_same: list[bool], names: list[str]) -> None:
    """A set and the groups of its pairs, both or none."""
    pair_set.write_pairs(output, images, is_same)
    with whole_file.undoing(output):
        groups.write_groups(output, names)


def check_new(*outputs: tuple[str, Path | None]) -> None:
    """InvalidInput, naming the option, where a file cannot be written, or would replace one or another output."""
    places = set()
    for option, path in outputs:
        if path is None:
            continue
        with explained(f"{option} {path}", "cannot be looked for", "name another file"):
            place = whole_file.real(path)
            if path.exists() or place in places:
                reason = "exists already" if path.exists() else "is the name of another output"
                raise InvalidInput(f"{option} {path}: {reason}; name another file")
        whole_file.check_writable(path, option)
        places.add(place)


def write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all."""
    with explained(path, "cannot be written", "name another file"), whole_file.replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        csv.writer(text).writerows(rows)
        text.detach()


def _dropped_row(entry: pair_list.DroppedPair) -> list[object]:
    return [entry.pair.line, entry.pair.first, entry.pair.second, int(entry.pair.is_same), entry.reason]
