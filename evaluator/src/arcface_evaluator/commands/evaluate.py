"""`arcface evaluate`: verification of pair sets and of IJB templates, from a checkpoint or from embeddings."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial, reduce
from pathlib import Path
from typing import TypeVar, Unpack

import click
from rich.console import Console
from rich.table import Table

from arcface_api.contract.reports import SetCounts
from arcface_api.errors import InvalidInput
from arcface_evaluator.evaluation.documents import ijb_document, pairs_document
from arcface_evaluator.evaluation.embedding_cache import open_cache
from arcface_evaluator.evaluation.ijb import count_set, embed_set, usual_scores, verify_set
from arcface_evaluator.evaluation.job import BATCH_SIZE, run_job
from arcface_evaluator.evaluation.pairs import count_pairs, from_files, from_images
from arcface_evaluator.networks.checkpoint import load_checkpoint
from arcface_evaluator.networks.source import NetworkOptions, Source, open_source
from arcface_evaluator.report.document import EvaluationFile, lines_of
from arcface_evaluator.report.hardest import HardPairs, hardest_pairs, shown_pair, shown_templates
from arcface_evaluator.report.ijb import table_of
from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.sets.release_images import FOLDER, open_images
from arcface_faces.checkpoint.manifest import MANIFEST_FILE
from arcface_faces.embedding.embedder import Embedder
from arcface_faces.embedding.multi_process import open_embedder
from arcface_faces.embedding.vectors import read_embeddings
from arcface_faces.pairs.pair_set import check_images, open_sets
from arcface_faces.pairs.protocol import PairScores

FILE = click.Path(path_type=Path)
MOST_AT_ONCE = 65_536
"""Images in a batch: 10 GB of numbers."""
RANKS = click.option(
    "--ranks", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that embed, one a device."
)
NETWORK = (
    click.option("--checkpoint", type=FILE, help="A checkpoint, or a folder of checkpoints: the newest complete one."),
    click.option("--model", type=FILE, help="An ONNX or MindIR file."),
    click.option("--mean", type=float, help="Subtracted from pixels of 0 to 255, for a model that says nothing."),
    click.option("--scale", type=float, help="Divides the difference, likewise."),
    click.option("--channels", type=click.Choice(["RGB", "BGR"]), default="RGB", show_default=True, help="Likewise."),
    click.option("--batch-size", type=click.IntRange(1, MOST_AT_ONCE), default=BATCH_SIZE, show_default=True),
    RANKS,
)
"""What embeds images."""
JSON = click.option("--json", "json_file", type=FILE, help="Write every number to this file.")
REPORT = click.option("--report", type=FILE, help="Write a page with plots and the hardest pairs into this folder.")


Command = TypeVar("Command", bound=Callable[..., None])


def network_options(command: Command) -> Command:
    """Give a command the options of `NetworkOptions`."""
    return reduce(lambda made, option: option(made), reversed(NETWORK), command)


@click.group()
def evaluate() -> None:
    """Judge a checkpoint, a model or embeddings on verification sets."""


@evaluate.command()
@network_options
@click.option("--embeddings", type=FILE, multiple=True, help=".npy (N, D) or (N, 2, D), one for each set.")
@click.option("--bin", "bins", type=FILE, multiple=True, help="Verification set; more may follow as plain arguments.")
@JSON
@REPORT
@click.argument("more_bins", type=FILE, nargs=-1)
def pairs(
    *,
    embeddings: tuple[Path, ...],
    bins: tuple[Path, ...],
    json_file: Path | None,
    report: Path | None,
    more_bins: tuple[Path, ...],
    **network: Unpack[NetworkOptions],
) -> None:
    """Verify pair sets in 10 folds and print accuracy and deviation of each."""
    source = one_source(network, embeddings)
    paths = set_paths(bins, more_bins)
    identities = [source.identity] if source else list(embeddings)
    check_outputs(json_file, report, [*paths, *folders_of(source), *identities])
    sets = open_sets(paths)
    if source is None:
        reports = [announced(found) for found in from_files(sets, embeddings)]
    else:
        with open_embedder(source.load, source.batch_size, source.ranks) as embedder:
            reports = [announced(found) for found in from_images(sets, embedder)]
    if json_file or report:
        inputs = [*(pair_set.path for pair_set in sets), *identities]
        document = pairs_document(reports, source.checkpoint if source else None, inputs)
        hardest = [
            group
            for pair_set, found in zip(sets, reports, strict=True)
            for group in hardest_pairs(found.dataset, found.scores, found.is_same, partial(shown_pair, pair_set.image))
        ]
        write(document, json_file, report, identities[0], hardest)


@evaluate.command()
@click.argument("bins", type=FILE, nargs=-1)
@click.option("--ijb", "releases", type=FILE, multiple=True, help="Folder of an IJB release; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(bins: tuple[Path, ...], releases: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Check that the sets BINS and IJB releases can be evaluated and count their pairs.

    All images of pair sets are decoded; of an IJB release they must be there, and the first one is decoded.
    """
    if not bins and not releases:
        raise InvalidInput("give at least one verification set, or an IJB release with --ijb")
    sets, opened = open_sets(bins), [open_ijb(folder) for folder in releases]
    for pair_set in sets:
        check_images(pair_set)
    counts = SetCounts(sets=count_pairs(sets), ijb=[count_set(release) for release in opened])
    lines = [f"{count.name}: {count.pairs} pairs, {count.same} of one person" for count in counts.sets]
    lines += [
        f"{count.name}: {count.images} images in {count.templates} templates, {count.pairs} pairs, "
        f"{count.same} of one person"
        for count in counts.ijb
    ]
    click.echo(counts.to_json() if as_json else "\n".join(lines))


@evaluate.command()
@network_options
@click.option("--embeddings", type=FILE, help=".npy (N, D) or (N, 2, D), a row for each image.")
@click.option("--root", type=FILE, required=True, help="Folder of the release, such as IJB_release/IJBC.")
@JSON
@REPORT
@click.option("--cache/--no-cache", default=True, show_default=True, help="Keep embeddings beside the checkpoint.")
def ijb(
    *,
    embeddings: Path | None,
    root: Path,
    json_file: Path | None,
    report: Path | None,
    cache: bool,
    **network: Unpack[NetworkOptions],
) -> None:
    """Verify templates of IJB-B or IJB-C one to one and print TAR at FAR.

    Rows of the embeddings are in the order of *_face_tid_mid.txt.
    """
    source = one_source(network, embeddings)
    opened = open_ijb(root)
    identity = source.identity if source else embeddings or Path()
    check_outputs(json_file, report, [identity, *folders_of(source), *opened.files])
    if source is None:
        array = read_embeddings(identity, len(opened.images))
    else:
        images, folder = open_images(opened), source.checkpoint
        kept = open_cache(folder, identity, opened, images) if cache and folder else None
        with open_embedder(source.load, source.batch_size, source.ranks) as embedder:
            array = embed_set(images, embedder, kept)
    results = verify_set(opened, array)
    Console().print(table_of(opened.name, results))
    if json_file or report:
        scores = usual_scores(opened, array, results[0].protocol)
        document = ijb_document(opened, results, scores, source.checkpoint if source else None, [identity])
        hardest: list[HardPairs] = []
        if report and (root / FOLDER).is_dir():  # embeddings may have come without the images
            show = partial(shown_templates, opened, open_images(opened).image)
            hardest = hardest_pairs(opened.name, scores, opened.pairs.is_same, show)
        write(document, json_file, report, identity, hardest)


@evaluate.command()
@click.argument("documents", type=FILE, nargs=-1, required=True)
@click.option("--report", type=FILE, required=True, help="Folder for the page.")
def compare(documents: tuple[Path, ...], report: Path) -> None:
    """Show several evaluations, the files of their --json, on one page."""
    runs = {path.stem: EvaluationFile.read(path) for path in documents}
    if len(runs) < len(documents):
        raise InvalidInput("runs are told apart by the names of their files: rename those that are equal")
    for dataset in dict.fromkeys(result.dataset for run in runs.values() for result in run.results):
        if len({run.sha256_of(dataset) for run in runs.values()} - {None}) > 1:
            raise InvalidInput(f"the runs have looked at different files called {dataset}: they cannot be compared")
    show(report, runs, [])


@evaluate.command()
@click.option("--config", "config_file", type=FILE, required=True, help="Run configuration that the operator wrote.")
@click.option("--termination-log", type=FILE, required=True, help="File that takes the report.")
@RANKS
def job(config_file: Path, termination_log: Path, ranks: int) -> None:
    """Evaluate the newest checkpoint of a job on its sets: what the evaluator's pod runs."""

    def open_network(folder: Path) -> AbstractContextManager[Embedder]:
        return open_embedder(partial(load_checkpoint, folder), BATCH_SIZE, ranks)

    run_job(config_file, termination_log, open_network, announce)


def one_source(network: NetworkOptions, embeddings: object) -> Source | None:
    """The network that is asked for; None where there are embeddings instead."""
    if sum(map(bool, (network["checkpoint"], network["model"], embeddings))) != 1:
        raise InvalidInput("give one of --checkpoint, --model and --embeddings")
    return open_source(network)


def folders_of(source: Source | None) -> list[Path]:
    """The checkpoint's folder, where there is one."""
    return [source.checkpoint] if source is not None and source.checkpoint is not None else []


def set_paths(bins: tuple[Path, ...], more_bins: tuple[Path, ...]) -> tuple[Path, ...]:
    """All sets in the order of the command line, which embeddings are matched by."""
    if not bins:
        raise InvalidInput("give at least one verification set with --bin")
    if len(bins) > 1 and more_bins:
        raise InvalidInput(f"{more_bins[0]}: put --bin before it: the order of the sets is unclear")
    return bins + more_bins


def check_outputs(json_file: Path | None, report: Path | None, inputs: Sequence[Path]) -> None:
    """InvalidInput, before anything is computed, where an output cannot be written or would replace an input."""
    if json_file and not json_file.parent.is_dir():
        raise InvalidInput(f"--json {json_file}: its folder is not there; make it or name another file")
    if json_file and not os.access(json_file if json_file.exists() else json_file.parent, os.W_OK):
        raise InvalidInput(f"--json {json_file}: may not be written; name another file")
    if report:
        try:
            report.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"--report {report}: cannot be made ({error.strerror}); name another folder") from None
    refuse_input(json_file, inputs)


def refuse_input(output: Path | None, inputs: Sequence[Path]) -> None:
    """InvalidInput where the output would replace an input, or a file inside of one that is a folder."""
    if output is None or not output.exists():
        return
    for path in inputs:
        is_same = path.exists() and output.samefile(path)
        if is_same or output.resolve().is_relative_to(path.resolve()):
            raise InvalidInput(f"--json {output}: would replace the input {path}; name another file")


def write(
    document: EvaluationFile, json_file: Path | None, report: Path | None, source: Path, hardest: list[HardPairs]
) -> None:
    """Write what was asked for; the page calls the run by the checkpoint's folder or the file of embeddings."""
    if json_file:
        document.write(json_file)
    if report:
        name = source.parent.name if source.name == MANIFEST_FILE else source.stem
        show(report, {name: document}, hardest)


def show(report: Path, runs: dict[str, EvaluationFile], hardest: list[HardPairs]) -> None:
    """Write the page and say where it is."""
    # Imported here: plotting takes long to load, and most evaluations print numbers only.
    from arcface_evaluator.report.page import write_page  # noqa: PLC0415

    click.echo(f"report: {write_page(report, runs, hardest)}", err=True)


def announced(report: PairScores) -> PairScores:
    """Print the lines of a set as soon as it is judged."""
    click.echo("\n".join(lines_of(report)))
    return report


def announce(report: PairScores | Table) -> None:
    """Print what a job has found."""
    if isinstance(report, PairScores):
        announced(report)
    else:
        Console().print(report)
