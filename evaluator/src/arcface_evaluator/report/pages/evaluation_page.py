"""The page of one or several evaluations: all sets at a glance, the comparison of runs, then a section for each set."""

from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path

from arcface_api.errors import ArcFaceError, printable
from arcface_evaluator.report import comparison, document, entries
from arcface_evaluator.report.pages import (
    evaluation_plots as drawn,
    evaluation_tables as tables,
    page,
    plots,
    search_tables,
)
from arcface_faces.checkpoint import MANIFEST_FILE, CheckpointManifest, manifest_sha256, parse_manifest


def write_page(directory: Path, runs: tables.Runs, hardest: Sequence[entries.HardPairs] = ()) -> Path:
    """Write the page of one or several runs, by name, into a folder; the path of the page."""
    runs = {printable(name): run for name, run in runs.items()}
    sets = [tables.results_of(runs, name) for name in _names_of(runs)]
    training = {name: found for name, run in runs.items() if (found := _training_of(run)) is not None}
    return page.Page(
        file="report.html",
        title="Evaluation of " + ", ".join(training[name].job if name in training else name for name in runs),
        facts=[fact for name, run in runs.items() for fact in _facts_of(name, run, training.get(name))],
        sections=[
            *(
                page.Section("All sets", [table])
                for table in tables.glance_tables(sets, search_tables.glance_rows(runs))
            ),
            *_comparison(runs),
            *(_section_of(runs, each, [group for group in hardest if group.dataset == each.dataset]) for each in sets),
        ],
        origins_title="Protocol and inputs",
        origins=[_origin_of(*run) for run in runs.items()],
    ).write(directory)


def _training_of(run: document.EvaluationFile) -> CheckpointManifest | None:
    """What a checkpoint says of itself, as long as its manifest lies where it lay when it was evaluated."""
    for file in run.inputs:
        folder = Path(file.path).parent
        if Path(file.path).name != MANIFEST_FILE:
            continue
        try:
            return parse_manifest(folder) if manifest_sha256(folder) == file.sha256 else None
        except ArcFaceError:
            return None
    return None


def _facts_of(
    name: str, run: document.EvaluationFile, training: CheckpointManifest | None
) -> Iterator[tuple[str, str]]:
    """What one needs to know of a run."""
    yield "run", name
    if training is not None:
        model = training.model
        yield "job", training.job
        yield "model", f"{model.backbone}, width {model.width:g}, embeddings of {model.embedding_size}"
        yield "checkpoint", f"step {training.step} of {training.total_steps}, {training.saved_at:%Y-%m-%d %H:%M %Z}"
    if run.sets:
        last = max(run.sets, key=lambda each: each.finished_at)
        programs = ", ".join(f"{program} {version}" for program, version in last.versions.items())
        yield "evaluated", f"{last.finished_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC by {programs}"


def _names_of(runs: tables.Runs) -> list[str]:
    """Each set once, in the order of the first appearance."""
    pairs = [each.dataset for run in runs.values() for each in run.results]
    templates = [each.dataset for run in runs.values() for each in run.ijb]
    return list(dict.fromkeys([*pairs, *templates, *search_tables.datasets(runs)]))


def _comparison(runs: tables.Runs) -> Iterator[page.Section]:
    """Every later run beside the first one."""
    if compared := list(comparison.compare_runs(runs)):
        tested = comparison.comparisons_of(compared)
        plot = [drawn.differences_plot(tested)] if tested else []
        yield page.Section("Comparison", [tables.comparison_table(compared)], plot)


def _section_of(runs: tables.Runs, found: tables.SetResults, hardest: Sequence[entries.HardPairs]) -> page.Section:
    """Tables, plots and the hardest pairs of one set."""
    threshold = _deciding_threshold(found)
    judged = hardest if threshold is None else [group.judged(threshold) for group in hardest]
    told = [*tables.tables_of(runs, found), *search_tables.tables_of(runs, found.dataset)]
    return page.Section(found.dataset, told, list(_plots_of(found)), judged)


def _plots_of(found: tables.SetResults) -> Iterator[plots.Plot]:
    """The curves of all runs in one plot of each kind, then the scores of each."""
    if found.curves:
        yield drawn.roc_plot(found.curves, found.points)
        yield drawn.det_plot(found.curves, found.points)
    for run, curves in found.curves.items():
        yield drawn.histogram_plot(f"scores of {run}", curves, found.points.get(run, ()))
    if found.details:
        yield drawn.folds_plot({run: details.folds for run, details in found.details.items()})


def _deciding_threshold(found: tables.SetResults) -> float | None:
    """Of the only run whose pairs can be shown: that of the usual false match rate, or the next one that is known."""
    points = next(iter(found.points.values()), ())
    return next((point.threshold for point in points if point.far >= tables.TEMPLATES_FAR), None)


def _origin_of(run_name: str, run: document.EvaluationFile) -> page.Origin:
    """Protocol and inputs of a run."""
    facts = [(field, str(value)) for field, value in run.protocol.model_dump(by_alias=True).items()]
    checkpoint = [("checkpoint", run.checkpoint)] if run.checkpoint is not None else []
    return page.Origin(run_name, [*checkpoint, *facts], list(run.inputs))
