"""`arcface evaluate identify` and `all-pairs`: one against many in galleries, and all images of a list against all."""

from pathlib import Path
from typing import Unpack

import click

from arcface_api.errors import InvalidInput
from arcface_evaluator import evaluation, networks, searching, verifying
from arcface_evaluator.commands import sources
from arcface_evaluator.commands.outputs import Outputs
from arcface_evaluator.sets import galleries, labelled_list, release
from arcface_faces.embedding import vectors


@click.command()
@sources.network_options
@click.option("--embeddings", type=sources.FILE, help=".npy (N, D) or (N, 2, D), a row for each image.")
@click.option("--root", type=sources.FILE, required=True, help="Folder of the set, such as IJB_release/IJBC.")
@sources.VIEWS
@sources.JSON
@sources.CACHE
def identify(
    *,
    embeddings: Path | None,
    root: Path,
    views: vectors.Views | None,
    json_file: Path | None,
    cache: bool | None,
    **network: Unpack[networks.NetworkOptions],
) -> None:
    """Look for the probes of a set of templates in its galleries and print rank-1, 5, 10 and TPIR at FPIR.

    Rows of the embeddings are in the order of *_face_tid_mid.txt.
    """
    source = networks.open_source(network, embeddings=embeddings, views=views, cache=cache)
    outputs = Outputs(json_file, None)
    opened = release.open_templates(root)
    protocol = galleries.open_galleries(opened)
    files = source.files if source else (embeddings or Path(),)
    inputs = [*files, *opened.member_files, *protocol.files]
    outputs.check(source, inputs)
    with sources.opened_when_needed(source) as load:
        if source is None:
            origin = sources.TemplateEmbeddings.from_file(opened, files[0], views)
        else:
            origin = sources.TemplateEmbeddings.from_network(opened, source, load, keep=cache)
        task = searching.identification_task(opened, protocol, files, origin.embed, origin.images)
        outputs.deliver(evaluation.evaluate([task], sources.checkpoint_name(source)), files[0])


@click.command()
@sources.network_options
@click.option("--embeddings", type=sources.FILE, help=".npy (N, D) or (N, 2, D), a row for each line of the list.")
@click.option("--list", "list_file", type=sources.FILE, required=True, help="CSV: image,label or image,label,group.")
@click.option("--images", type=sources.FILE, help="Folder of the aligned 112x112 images; embeddings need none.")
@sources.VIEWS
@sources.JSON
def all_pairs(
    *,
    embeddings: Path | None,
    views: vectors.Views | None,
    list_file: Path,
    images: Path | None,
    json_file: Path | None,
    **network: Unpack[networks.NetworkOptions],
) -> None:
    """Compare all images of a list with all others and print TAR at FAR, for each group too."""
    source = networks.open_source(network, embeddings=embeddings, views=views)
    outputs = Outputs(json_file, None)
    if (source is None) != (images is None):
        raise InvalidInput("give --images with --checkpoint or --model, and leave it out with --embeddings")
    files = source.files if source else (embeddings or Path(),)
    outputs.check(source, [*files, list_file])
    listed = labelled_list.read_labelled_list(list_file)
    listed_images = None if images is None else labelled_list.ListedImages(listed.name, images, listed.images)
    with sources.opened_when_needed(source) as load:

        def embed() -> vectors.Embeddings:
            if listed_images is None:
                return vectors.read_embeddings(files[0], len(listed.images), views or "separate")
            return verifying.embed_all(listed_images, load)

        task = searching.list_task(listed, [*files, list_file], embed, listed_images)
        outputs.deliver(evaluation.evaluate([task], sources.checkpoint_name(source)), files[0])
