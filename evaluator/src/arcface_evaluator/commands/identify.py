"""`arcface evaluate identify` and `all-pairs`: one against many in galleries, and all images of a list against all."""

from functools import partial
from pathlib import Path
from typing import Unpack

import click

from arcface_api.errors import InvalidInput
from arcface_evaluator import searching
from arcface_evaluator.commands import outputs, sources
from arcface_evaluator.sets import galleries, labelled_list, release
from arcface_faces.image_files import tree


@click.command()
@sources.judging_options(sources.FILE_OF_EMBEDDINGS)
@sources.ROOT
@sources.CACHE
@sources.LINKS
def identify(
    *, root: Path, cache: bool | None, links: tree.Links | None, **options: Unpack[sources.JudgingOptions]
) -> None:
    """Look for the probes of a set of templates in its galleries and print rank-1, 5, 10 and TPIR at FPIR.

    Rows of the embeddings are in the order of *_face_tid_mid.txt.
    """
    with sources.opened_source(options, cache=cache, links=links) as source:
        opened = release.open_templates(root, links or "inside")
        protocol, origin = galleries.open_galleries(opened), source.templates(opened)
        task = searching.identification_task(opened, protocol, source.files, origin.embed, origin.images)
        outputs.Outputs.of(options).judge([task], source, [*opened.member_files, *protocol.files])


@click.command()
@sources.judging_options(sources.FILE_OF_EMBEDDINGS)
@click.option("--list", "list_file", type=sources.FILE, required=True, help="CSV: image,label or image,label,group.")
@click.option("--images", type=sources.FILE, help="Folder of the aligned 112x112 images; embeddings need none.")
@sources.LINKS
def all_pairs(
    *, list_file: Path, images: Path | None, links: tree.Links | None, **options: Unpack[sources.JudgingOptions]
) -> None:
    """Compare all images of a list with all others and print TAR at FAR, for each group too.

    Rows of the embeddings are in the order of the list.
    """
    with sources.opened_source(options, links=links) as source:
        if (source.network is None) != (images is None):
            raise InvalidInput("give --images with --checkpoint or --model, and leave it out with --embeddings")
        listed = labelled_list.read_labelled_list(list_file)
        files = None
        if images is not None:
            below = tree.ImageTree(images, links or "inside")
            files = labelled_list.ListedImages(listed.name, below, listed.images)
            files.check()
        embed = partial(source.embed, files, len(listed.images))
        task = searching.list_task(listed, [*source.files, list_file], embed, files)
        outputs.Outputs.of(options).judge([task], source, [list_file])
