"""How a run stands: asked of the first pod, and told to the user, with a bar, lines and a table."""

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TaskID, TextColumn
from rich.table import Table

from arcface_api.contract import pod_environment, reports
from arcface_api.resource.status import ArcFaceTrainingJobStatus, EvaluationStatus, GateResult, Progress
from arcface_operator.decision.observation import Observation, PodView
from arcface_operator.decision.plan import EmitEvent, Plan
from arcface_operator.decision.stages import TRAINING
from arcface_operator.local.kubelet.kubelet import log_name

Report = reports.TrainerReport | reports.EvaluatorReport
TIMEOUT_SECONDS = 0.5
SIZE_LIMIT = 1 << 16
"""Bytes of an answer; a report has a few hundred."""
LINE_SECONDS = 10.0


def probe_report(address: str, kind: type[Report]) -> Report | None:
    """The report so far at a pod's /progress, or None while it serves none of this kind."""
    connection = http.client.HTTPConnection(address, pod_environment.METRICS_PORT, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/progress")
        response = connection.getresponse()
        return kind.parse(response.read(SIZE_LIMIT)) if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class View(Protocol):
    """Where progress and notes go."""

    def progress(self, progress: Progress) -> None:
        """Show where the training stands."""

    def note(self, text: str) -> None:
        """Say that something happened."""


class BarView:
    """A progress bar."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.task: TaskID | None = None

    def progress(self, progress: Progress) -> None:
        """Move the bar."""
        figures = describe(progress, datetime.now(UTC))
        if self.task is None:
            self.task = self.bar.add_task("training", total=progress.total_steps, figures=figures)
        self.bar.update(self.task, completed=progress.step, total=progress.total_steps, figures=figures)

    def note(self, text: str) -> None:
        """Print above the bar."""
        self.bar.console.print(text, markup=False, highlight=False)


class LineView:
    """Lines for a log file."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self.last_line: float | None = None

    def progress(self, progress: Progress) -> None:
        """Print a line unless the last one is recent."""
        now = self.clock()
        if self.last_line is not None and now - self.last_line < LINE_SECONDS:
            return
        self.last_line = now
        self.note(f"step {progress.step}/{progress.total_steps}, {describe(progress, datetime.now(UTC))}")

    def note(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Notices:
    """Tells the user what the trainer warns of and what it verifies, each thing once."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.told: set[str] = set()
        self.skipped = 0
        self.verified_step = -1

    def see(self, report: reports.TrainerReport) -> None:
        """Tell new warnings and verifications, and the first images that are skipped."""
        verification = report.progress.verification if report.progress else None
        if verification is not None and verification.step > self.verified_step:
            self.verified_step = verification.step
            accuracies = ", ".join(f"{result.dataset} {result.accuracy:.4f}" for result in verification.results)
            self.view.note(f"verified after epoch {verification.epoch}: {accuracies}")
        for warning in report.warnings:
            if warning not in self.told:
                self.told.add(warning)
                self.view.note(f"warning: {warning}")
        if not self.skipped:
            self.count(report.skipped_images)

    def count(self, skipped: int) -> None:
        """Tell how many images are skipped, where they are more than was told before."""
        if skipped > self.skipped:
            self.skipped = skipped
            self.view.note(
                f"warning: images that could not be used, so that others stand in for them: {skipped}; list them "
                "with 'arcface data verify'"
            )


class Narrator:
    """Follows the decisions about a job: beginnings, warnings, restarts with their logs, and where it stands."""

    def __init__(self, view: View, logs: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.view = view
        self.logs = logs
        self.now = now
        self.notices = Notices(view)

    def tell(self, observed: Observation, plan: Plan) -> None:
        """What is new in an observation and in what follows from it."""
        before, after = observed.job.status, plan.status
        if isinstance(observed.report, reports.TrainerReport):
            self.notices.see(observed.report)
        if before.training_completion_time is None and after.training_completion_time is not None:
            self._tell_of_trained(observed, [pod for pod in observed.pods if pod.component == TRAINING.component])
        for event in plan.actions:
            if isinstance(event, EmitEvent) and event.type == "Warning" and after.phase != "Failed":
                self.view.note(f"{event.message}{self._log_of(before, after)}")
        if after.progress is not None and after.progress != before.progress:
            self.view.progress(after.progress)

    def _log_of(self, before: ArcFaceTrainingJobStatus, after: ArcFaceTrainingJobStatus) -> str:
        """Where the attempt that has just failed says more."""
        failure = after.failure
        if failure is None or failure.pod is None or after.attempt == before.attempt:
            return ""
        return f"; log: {self.log(failure.pod, before.attempt)}"

    def log(self, pod: str, attempt: int) -> Path:
        """What a pod has printed."""
        return self.logs / log_name(pod, attempt)

    def _tell_of_trained(self, observed: Observation, workers: list[PodView]) -> None:
        """The training is done: what its ranks said last."""
        ends = [pod.ended for pod in workers if pod.ended is not None]
        found = [reports.TrainerReport.parse(end.message) or reports.TrainerReport() for end in ends]
        if found:
            self.notices.see(found[0])
            self.notices.count(max(report.skipped_images for report in found))
        evaluation = observed.job.spec.evaluation
        if evaluation is not None:
            self.view.note(f"training is done; evaluating {', '.join([*evaluation.sets, *evaluation.ijb])}")

    def tell_of_stop(self) -> None:
        """A request to stop has come."""
        self.view.note("stopping; the ranks save their state (a second Ctrl-C kills them)")


@contextmanager
def open_view(console: Console) -> Iterator[View]:
    """The view that suits the console."""
    if not console.is_terminal:
        yield LineView(console)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
    with Bar(*columns, console=console) as bar:
        yield BarView(bar)


def describe(progress: Progress, now: datetime) -> str:
    """The figures of a progress in one line."""
    figures = [f"epoch {progress.epoch}"]
    if progress.loss is not None:
        figures.append(f"loss {progress.loss:.4f}")
    if progress.images_per_second is not None:
        figures.append(f"{progress.images_per_second:.0f} img/s")
    if progress.data_wait_percent is not None:
        figures.append(f"data wait {progress.data_wait_percent:.0f} %")
    if progress.slowest_rank is not None:
        figures.append(f"slowest rank {progress.slowest_rank}")
    if progress.estimated_completion_time is not None:
        figures.append(f"done in {duration(progress.estimated_completion_time - now)}")
    return ", ".join(figures)


def duration(time_left: timedelta) -> str:
    """Hours, minutes and seconds, never below zero."""
    seconds = max(0, round(time_left.total_seconds()))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def results_table(evaluation: EvaluationStatus) -> Table:
    """One row a pair set, one a rate of an IJB set, then one a gate about anything else."""
    table = Table()
    for heading in ("set", "accuracy", "std", "pairs", "gate"):
        table.add_column(heading, justify="left" if heading in {"set", "gate"} else "right")
    by_metric = {gate.metric: gate for gate in evaluation.gates}
    for result in evaluation.results:
        gate = by_metric.pop(f"{result.dataset}.accuracy", None)
        accuracy, std = f"{result.accuracy:.5f}", f"{result.std:.5f}"
        table.add_row(result.dataset, accuracy, std, str(result.pairs), "" if gate is None else _verdict(gate))
    for ijb in evaluation.ijb:
        for far, tar in ijb.tar_at_far.items():
            metric = f"{ijb.dataset}.tar@{far}"
            gate = by_metric.pop(metric, None)
            table.add_row(metric, f"{tar:.5f}", "", "", "" if gate is None else _verdict(gate))
    for gate in by_metric.values():
        table.add_row(gate.metric, "" if gate.value is None else f"{gate.value:.5f}", "", "", _verdict(gate))
    return table


def _verdict(gate: GateResult) -> str:
    """`passed (>= 0.9)` and the like."""
    return f"{'passed' if gate.passed else 'failed'} ({gate.bounds})"
