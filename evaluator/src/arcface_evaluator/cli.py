"""`arcface evaluate`: verification of pair sets and of IJB templates, from a checkpoint or from embeddings."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from arcface_api.errors import InvalidInput
from arcface_api.reports import SetCounts
from arcface_evaluator.checkpoint_network import checkpoint_folder, open_checkpoint
from arcface_evaluator.embedding_cache import open_cache
from arcface_evaluator.embeddings_file import read_embeddings
from arcface_evaluator.ijb import count_set, embed_set, verify_set
from arcface_evaluator.ijb_report import IjbProtocol, ijb_result_of, rates_of, table_of
from arcface_evaluator.job import BATCH_SIZE, run_job
from arcface_evaluator.pair_protocol import PairReport
from arcface_evaluator.pairs import count_pairs, from_files, from_network, open_sets
from arcface_evaluator.report import EvaluationFile, details_of, input_file, lines_of, result_of
from arcface_evaluator.template_files import open_ijb
from arcface_evaluator.template_pictures import open_pictures
from arcface_trainer.checkpoint_manifest import MANIFEST_FILE

FILE = click.Path(path_type=Path)


@click.group()
def evaluate() -> None:
    """Judge a checkpoint or embeddings on verification sets."""


@evaluate.command()
@click.option("--checkpoint", type=FILE, help="A checkpoint, or a folder of checkpoints: the newest complete one.")
@click.option("--embeddings", type=FILE, multiple=True, help=".npy (N, D) or (N, 2, D), one for each set.")
@click.option("--bin", "bins", type=FILE, multiple=True, help="Verification set; more may follow as plain arguments.")
@click.option("--json", "json_file", type=FILE, help="Write every number to this file.")
@click.option("--batch-size", type=click.IntRange(min=1), default=BATCH_SIZE, show_default=True)
@click.argument("more_bins", type=FILE, nargs=-1)
def pairs(
    *,
    checkpoint: Path | None,
    embeddings: tuple[Path, ...],
    bins: tuple[Path, ...],
    json_file: Path | None,
    batch_size: int,
    more_bins: tuple[Path, ...],
) -> None:
    """Verify pair sets in 10 folds and print accuracy and deviation of each."""
    if (checkpoint is None) == (not embeddings):
        raise InvalidInput("give either --checkpoint or --embeddings")
    paths = set_paths(bins, more_bins)
    if json_file:
        refuse_input(json_file, [*paths, *embeddings, *([checkpoint] if checkpoint else [])])
    sets = open_sets(paths)
    opened = open_checkpoint(checkpoint) if checkpoint else None
    judged = from_network(sets, opened.network, batch_size) if opened else from_files(sets, embeddings)
    reports = [announced(report) for report in judged]
    if json_file:
        sources = [opened.manifest] if opened else list(embeddings)
        EvaluationFile(
            checkpoint=str(opened.folder) if opened else None,
            results=[result_of(report) for report in reports],
            details=[details_of(report) for report in reports],
            inputs=[input_file(path) for path in [*(pair_set.path for pair_set in sets), *sources]],
        ).write(json_file)


@evaluate.command()
@click.argument("bins", type=FILE, nargs=-1)
@click.option("--ijb", "releases", type=FILE, multiple=True, help="Folder of an IJB release; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(bins: tuple[Path, ...], releases: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Check that the sets BINS and IJB releases can be evaluated and count their pairs."""
    if not bins and not releases:
        raise InvalidInput("give at least one verification set, or an IJB release with --ijb")
    counts = SetCounts(sets=count_pairs(open_sets(bins)), ijb=[count_set(open_ijb(folder)) for folder in releases])
    lines = [f"{count.name}: {count.pairs} pairs, {count.same} of one person" for count in counts.sets]
    lines += [
        f"{count.name}: {count.pictures} pictures in {count.templates} templates, {count.pairs} pairs, "
        f"{count.same} of one person"
        for count in counts.ijb
    ]
    click.echo(counts.to_json() if as_json else "\n".join(lines))


@evaluate.command()
@click.option("--checkpoint", type=FILE, help="A checkpoint, or a folder of checkpoints: the newest complete one.")
@click.option("--embeddings", type=FILE, help=".npy (N, D) or (N, 2, D), a row for each picture.")
@click.option("--root", type=FILE, required=True, help="Folder of the release, such as IJB_release/IJBC.")
@click.option("--json", "json_file", type=FILE, help="Write every number to this file.")
@click.option("--batch-size", type=click.IntRange(min=1), default=BATCH_SIZE, show_default=True)
@click.option("--cache/--no-cache", default=True, show_default=True, help="Keep embeddings beside the checkpoint.")
def ijb(
    *,
    checkpoint: Path | None,
    embeddings: Path | None,
    root: Path,
    json_file: Path | None,
    batch_size: int,
    cache: bool,
) -> None:
    """Verify templates of IJB-B or IJB-C one to one and print TAR at FAR.

    Rows of the embeddings are in the order of *_face_tid_mid.txt.
    """
    if (checkpoint is None) == (embeddings is None):
        raise InvalidInput("give either --checkpoint or --embeddings")
    source = embeddings or checkpoint_folder(checkpoint or Path())
    opened = open_ijb(root)
    if json_file:
        refuse_input(json_file, [source, *opened.files])
    if embeddings:
        array = read_embeddings(embeddings, len(opened.pictures))
    else:
        pictures, manifest = open_pictures(opened), source / MANIFEST_FILE
        kept = open_cache(source, manifest, pictures) if cache else None
        array = embed_set(pictures, lambda: open_checkpoint(source).network, batch_size, kept)
    results = verify_set(opened, array)
    Console().print(table_of(opened.name, results))
    if json_file:
        EvaluationFile(
            checkpoint=None if embeddings else str(source),
            ijb=[ijb_result_of(opened.name, results[0])],
            ijb_details=[rates_of(opened.name, result) for result in results],
            protocol=IjbProtocol(),
            inputs=[input_file(path) for path in [embeddings or source / MANIFEST_FILE, *opened.files]],
        ).write(json_file)


@evaluate.command()
@click.option("--config", "config_file", type=FILE, required=True, help="Run configuration that the operator wrote.")
@click.option("--termination-log", type=FILE, required=True, help="File that takes the report.")
def job(config_file: Path, termination_log: Path) -> None:
    """Evaluate the newest checkpoint of a job on its sets: what the evaluator's pod runs."""
    run_job(config_file, termination_log, open_checkpoint, announce)


def set_paths(bins: tuple[Path, ...], more_bins: tuple[Path, ...]) -> tuple[Path, ...]:
    """All sets in the order of the command line, which embeddings are matched by."""
    if not bins:
        raise InvalidInput("give at least one verification set with --bin")
    if len(bins) > 1 and more_bins:
        raise InvalidInput(f"{more_bins[0]}: put --bin before it: the order of the sets is unclear")
    return bins + more_bins


def refuse_input(output: Path, inputs: list[Path]) -> None:
    """InvalidInput where the output would replace an input, or a file inside of one that is a folder."""
    for path in inputs if output.exists() else []:
        is_same = path.exists() and output.samefile(path)
        if is_same or output.resolve().is_relative_to(path.resolve()):
            raise InvalidInput(f"--json {output}: would replace the input {path}; name another file")


def announced(report: PairReport) -> PairReport:
    """Print the lines of a set as soon as it is judged."""
    click.echo("\n".join(lines_of(report)))
    return report


def announce(report: PairReport | Table) -> None:
    """Print what a job has found."""
    if isinstance(report, PairReport):
        announced(report)
    else:
        Console().print(report)
