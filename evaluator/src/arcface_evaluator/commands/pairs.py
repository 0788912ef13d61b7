"""`arcface pairs make`: a verification set from a list of pairs and images."""

import csv
from pathlib import Path
from typing import Unpack

import click

from arcface_api.errors import InvalidInput, explained
from arcface_evaluator.commands.framing_options import FramingOptions, check_new, framing_options
from arcface_faces.image_files.framing import choose_framing
from arcface_faces.image_files.tree import ImageTree
from arcface_faces.pairs import pair_list, pair_set

FILE = click.Path(path_type=Path)


@click.group()
def pairs() -> None:
    """Make verification sets."""


@pairs.command()
@click.option("--list", "list_file", type=FILE, required=True, help="Table first,second,same or LFW's pairs.txt.")
@click.option("--images", type=FILE, required=True, help="Folder of the images that the list names.")
@framing_options
@click.option("-o", "--output", type=FILE, required=True, help="The .bin to write; it must not exist.")
@click.option("--dropped", type=FILE, help="CSV file to write, for the pairs that are left out and why; likewise.")
def make(
    *, list_file: Path, images: Path, dropped: Path | None, output: Path, **framing: Unpack[FramingOptions]
) -> None:
    """Write the pairs of a list, in its order: aligned images as they are, others as they are aligned or resized."""
    with explained(images, "cannot be looked into", "correct --images"):
        if not images.is_dir():
            raise InvalidInput(f"{images}: is no folder; correct --images")
    check_new("--output", output)
    if dropped is not None:
        check_new("--dropped", dropped)
    chosen = choose_framing(framing["landmarks"], framing["detector"], resize=framing["resize"])
    tree = ImageTree(images, framing["links"] or "inside")
    made = pair_list.make_set(pair_list.read_list(list_file), tree, chosen)
    if dropped:
        _write_dropped(dropped, made.dropped)
    made.check()
    pair_set.write_pairs(output, made.images, made.is_same)
    click.echo(f"{output}: {made.account()}")
    for entry in made.dropped[:3]:
        click.echo(f"line {entry.pair.line}: {entry.reason}", err=True)


def _write_dropped(path: Path, dropped: list[pair_list.DroppedPair]) -> None:
    """One row a pair that was left out."""
    rows = [
        [entry.pair.line, entry.pair.first, entry.pair.second, int(entry.pair.is_same), entry.reason]
        for entry in dropped
    ]
    writing = explained(f"--dropped {path}", "cannot be written", "name another file")
    with writing, path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["line", "first", "second", "same", "reason"], *rows])
