"""Options of the commands that read images of users, and the one check of the files that they write."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, TypeVar

import click

from arcface_api.errors import InvalidInput, explained
from arcface_faces.image_files import tree

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


def check_new(option: str, path: Path) -> None:
    """InvalidInput where a file cannot be written without replacing one."""
    with explained(f"{option} {path}", "cannot be looked for", "name another file"):
        if path.exists() or not path.parent.is_dir():
            reason = "exists already" if path.exists() else "its folder is not there"
            raise InvalidInput(f"{option} {path}: {reason}; name another file")
