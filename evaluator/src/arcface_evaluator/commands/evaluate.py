"""`arcface evaluate`: verification of pair sets and of IJB templates, from a checkpoint, a model or embeddings."""

from functools import partial
from pathlib import Path
from typing import Unpack

import click

from arcface_api.contract.reports import SetCounts
from arcface_api.errors import InvalidInput
from arcface_evaluator import job as evaluator_job, networks, verifying
from arcface_evaluator.commands import identify, outputs, sources
from arcface_evaluator.report import comparison, document
from arcface_evaluator.sets import release, release_images
from arcface_faces.datasets import faults
from arcface_faces.embedding import embedder
from arcface_faces.image_files import tree
from arcface_faces.images import decode_any_size
from arcface_faces.pairs import pair_set as pair_sets
from arcface_faces.progress import progress_bar


@click.group()
def evaluate() -> None:
    """Judge a checkpoint, a model or embeddings on verification sets."""


evaluate.add_command(identify.identify)
evaluate.add_command(identify.all_pairs)


@evaluate.command()
@sources.judging_options(sources.FILES_OF_EMBEDDINGS)
@click.option(
    "--bin", "bins", type=sources.FILE, multiple=True, help="Verification set; more may follow as plain arguments."
)
@sources.RESIZE
@click.argument("more_bins", type=sources.FILE, nargs=-1)
def pairs(
    *, bins: tuple[Path, ...], resize: bool, more_bins: tuple[Path, ...], **options: Unpack[sources.JudgingOptions]
) -> None:
    """Verify pair sets in 10 folds and print accuracy and deviation of each."""
    with sources.opened_source(options, resize=sources.unless_shown(options, resize or None)) as source:
        paths = _set_paths(bins, more_bins)
        sets = pair_sets.open_sets(paths, pair_sets.decoder(resize=resize))
        source.check_count(len(sets))
        tasks = [
            verifying.pairs_task(each, source.files_of(place), partial(source.embed, each, len(each), place))
            for place, each in enumerate(sets)
        ]
        outputs.Outputs.of(options).judge(tasks, source, paths)


@evaluate.command()
@click.argument("bins", type=sources.FILE, nargs=-1)
@click.option("--ijb", "releases", type=sources.FILE, multiple=True, help="Folder of an IJB release; may be repeated.")
@sources.RESIZE
@click.option("--gate", "gates", multiple=True, help="Figure that the sets must have, as a job's gates call it.")
@click.option("--quick", is_flag=True, help="Of the images of IJB releases look at the first bytes only.")
@sources.LINKS
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    *,
    bins: tuple[Path, ...],
    releases: tuple[Path, ...],
    resize: bool,
    gates: tuple[str, ...],
    quick: bool,
    links: tree.Links | None,
    as_json: bool,
) -> None:
    """Check that the sets BINS and IJB releases can be evaluated and count their pairs.

    All images are decoded; one that decodes with a part lost is refused, too. Those of an IJB release must be images
    that hold their landmarks.
    """
    if not bins and not releases:
        raise InvalidInput("give at least one verification set, or an IJB release with --ijb")
    for option, is_given, has_any, what in (
        ("--resize", resize, bins, "verification sets"),
        ("--quick", quick, releases, "--ijb"),
        ("--links", links, releases, "--ijb"),
    ):
        if is_given and not has_any:
            raise InvalidInput(f"{option} is for {what}: leave it out")
    sets, opened = (
        pair_sets.open_sets(bins, pair_sets.decoder(resize=resize)),
        [release.open_ijb(folder, links or "inside") for folder in releases],
    )
    verifying.check_gates(gates, sets, opened)
    for pair_set in sets:
        _check_images(faults.StoredImages(len(pair_set), pair_set.stored_image, pair_set.decode))
    for images in map(release_images.open_images, opened):
        images.check_sizes()
        if quick:
            continue
        _check_images(faults.StoredImages(len(images), images.stored_image, decode_any_size))
    counts = SetCounts(sets=verifying.count_pairs(sets), ijb=[verifying.count_release(release) for release in opened])
    lines = [f"{count.name}: {count.pairs} pairs, {count.same} of one person" for count in counts.sets]
    lines += [
        f"{count.name}: {count.images} images in {count.templates} templates, {count.pairs} pairs, "
        f"{count.same} of one person"
        for count in counts.ijb
    ]
    click.echo(counts.to_json() if as_json else "\n".join(lines))


def _check_images(images: faults.StoredImages) -> None:
    """InvalidInput names the first image that is not as it was written, and tells how many there are."""
    with progress_bar("checking", images.count) as advance:
        found = list(faults.faults(images, embedder.decoding_threads(), advance))
    if found:
        raise InvalidInput(found[0] if len(found) == 1 else f"{found[0]}; images with faults: {len(found)}")


@evaluate.command()
@sources.judging_options(sources.FILE_OF_EMBEDDINGS)
@sources.ROOT
@sources.CACHE
@sources.LINKS
def ijb(*, root: Path, cache: bool | None, links: tree.Links | None, **options: Unpack[sources.JudgingOptions]) -> None:
    """Verify templates of IJB-B or IJB-C one to one and print TAR at FAR.

    Rows of the embeddings are in the order of *_face_tid_mid.txt.
    """
    with sources.opened_source(options, cache=cache, links=sources.unless_shown(options, links)) as source:
        opened = release.open_ijb(root, links or "inside")
        origin = source.templates(opened)
        task = verifying.release_task(opened, source.files, origin.embed, origin.images)
        outputs.Outputs.of(options).judge([task], source, opened.files)


@evaluate.command()
@click.argument("documents", type=sources.FILE, nargs=-1, required=True)
@click.option("--report", type=sources.FILE, help="Folder for a page with all of them.")
def compare(documents: tuple[Path, ...], report: Path | None) -> None:
    """Tell whether the second and later evaluations, files of --json, are better than the first on the same pairs."""
    runs = document.read_all(documents)
    comparisons = list(comparison.compare_runs(runs))
    if comparisons:
        outputs.Outputs(None, None).show(comparison.comparison_table(comparisons))
    elif report is None:
        raise InvalidInput(
            "the files hold no outcomes of the same sets: evaluate both anew, or give --report for a page"
        )
    if report is not None:
        outputs.write_page(report, runs, [])


@evaluate.command()
@click.option(
    "--config", "config_file", type=sources.FILE, required=True, help="Run configuration that the operator wrote."
)
@click.option("--termination-log", type=sources.FILE, required=True, help="File that takes the report.")
@click.option(
    "--ranks", type=click.IntRange(1, sources.MOST_RANKS), default=1, help="Processes that embed, one a device."
)
def job(config_file: Path, termination_log: Path, ranks: int) -> None:
    """Evaluate the newest checkpoint of a job on its sets: what the evaluator's pod runs."""
    evaluator_job.run_job(
        config_file,
        termination_log,
        lambda folder, accelerator: networks.checkpoint_source(folder, ranks, accelerator=accelerator).embedder(),
        outputs.Outputs(None, None).show,
    )


def _set_paths(bins: tuple[Path, ...], more_bins: tuple[Path, ...]) -> tuple[Path, ...]:
    """All sets in the order of the command line, which embeddings are matched by."""
    if not bins and more_bins:
        raise InvalidInput(f"{more_bins[0]}: put --bin before it; further sets may follow without")
    if not bins:
        raise InvalidInput("give at least one verification set with --bin")
    if len(bins) > 1 and more_bins:
        raise InvalidInput(f"{more_bins[0]}: put --bin before it: the order of the sets is unclear")
    return bins + more_bins
