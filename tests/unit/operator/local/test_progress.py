"""The probe against a real server, and what the user sees."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.contract.reports import EvaluatorReport, TrainerReport
from arcface_api.resource.status import EvaluationStatus, GateResult, IjbResult, PairResult, Progress, Verification
from arcface_operator.decision.policies.gates import missed
from arcface_operator.local import progress
from arcface_operator.local.kubelet.kubelet import draw_addresses
from arcface_operator.local.progress import (
    BarView,
    LineView,
    Notices,
    describe,
    duration,
    open_view,
    probe_report,
    results_table,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FULL = Progress(
    epoch=3,
    step=120,
    total_steps=400,
    loss=12.34567,
    images_per_second=987.6,
    data_wait_percent=4.4,
    estimated_completion_time=NOW + timedelta(hours=1, minutes=2, seconds=3),
    updated_at=NOW,
)
BARE = Progress(epoch=0, step=0, total_steps=400, updated_at=NOW)


def test_all_figures_are_described() -> None:
    assert describe(FULL, NOW) == "epoch 3, loss 12.3457, 988 img/s, data wait 4 %, done in 1:02:03"


def test_a_rank_that_holds_up_the_others_is_named() -> None:
    slow = FULL.model_copy(update={"data_wait_percent": 35.9, "slowest_rank": 1})
    assert "data wait 36 %, slowest rank 1, done" in describe(slow, NOW)


def test_figures_that_are_not_known_are_left_out() -> None:
    assert describe(BARE, NOW) == "epoch 0"


def test_a_duration_that_is_over_is_zero() -> None:
    assert duration(timedelta(seconds=-5)) == "0:00:00"
    assert duration(timedelta(days=2, seconds=59.6)) == "48:01:00"


def test_a_line_is_printed_about_every_ten_seconds() -> None:
    times = iter([0.0, 0.5, 9.9, 10.0, 12.0])
    output = io.StringIO()
    view = LineView(Console(file=output), clock=lambda: next(times))
    for step in range(5):
        view.progress(BARE.model_copy(update={"step": step}))
    assert output.getvalue() == "step 0/400, epoch 0\nstep 3/400, epoch 0\n"


def test_notes_are_printed_as_they_are() -> None:
    output = io.StringIO()
    text = "pod a, log /w/[bold]a.log: " + "x" * 200
    LineView(Console(file=output)).note(text)
    assert output.getvalue() == f"{text}\n"


def test_a_terminal_gets_a_bar_and_a_file_gets_lines() -> None:
    output = io.StringIO()
    with open_view(Console(file=output, force_terminal=True, width=140)) as view:
        assert isinstance(view, BarView)
        view.note("restarted")
        view.progress(FULL)
        view.progress(FULL.model_copy(update={"step": 121}))
    assert "restarted" in output.getvalue()
    assert "121/400" in output.getvalue()
    assert "loss 12.3457" in output.getvalue()
    with open_view(Console(file=io.StringIO())) as view:
        assert isinstance(view, LineView)


RESULTS = EvaluationStatus(
    checkpoint="step-100",
    results=[
        PairResult(dataset="lfw", accuracy=0.998166, std=0.002734, pairs=6000),
        PairResult(dataset="cfp_fp", accuracy=0.98, std=0.01, pairs=7000),
    ],
    ijb=[IjbResult(dataset="IJBC", tar_at_far={"1e-5": 0.91, "1e-4": 0.9587})],
)
GATES = [
    GateResult(metric="lfw.accuracy", min=0.999, value=0.998166, passed=False),
    GateResult(metric="IJBC.tar@1e-4", min=0.95, value=0.9587, passed=True),
    GateResult(metric="IJBC.tar@1e-6", min=0.5, value=None, passed=False),
]


def cells(evaluation: EvaluationStatus) -> list[list[str]]:
    output = io.StringIO()
    Console(file=output, width=120).print(results_table(evaluation))
    rows = [line for line in output.getvalue().splitlines() if "│" in line]
    return [[cell.strip() for cell in row.strip().strip("│").split("│")] for row in rows]


def test_every_set_and_every_other_gate_has_a_row() -> None:
    assert cells(RESULTS.model_copy(update={"gates": GATES})) == [
        ["lfw", "0.99817", "0.00273", "6000", "failed (>= 0.999)"],
        ["cfp_fp", "0.98000", "0.01000", "7000", ""],
        ["IJBC.tar@1e-5", "0.91000", "", "", ""],
        ["IJBC.tar@1e-4", "0.95870", "", "", "passed (>= 0.95)"],
        ["IJBC.tar@1e-6", "", "", "", "failed (>= 0.5)"],
    ]


def test_missed_gates_are_told_with_the_figure_and_the_need() -> None:
    told = ["gate lfw.accuracy: 0.998166, needs >= 0.999", "gate IJBC.tar@1e-6: not measured, needs >= 0.5"]
    assert missed(GATES) == "; ".join(told)
    assert missed(GATES[1:2]) == ""


PROGRESS = Progress(epoch=1, step=20, total_steps=100, loss=3.5, updated_at=datetime(2026, 1, 1, tzinfo=UTC))
REPORT = TrainerReport(progress=PROGRESS, warnings=["odd"], skipped_images=2)
SERVED = REPORT.to_json()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server here answers at once or not at all, however slow the machine."""
    monkeypatch.setattr(progress, "TIMEOUT_SECONDS", 60.0)


@contextmanager
def serving(status: int, body: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/progress" else 404)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Silence."""

    (address,) = draw_addresses(1, {METRICS_PORT})
    with HTTPServer((address, METRICS_PORT), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield address
        server.shutdown()
        thread.join()


def test_the_report_is_read() -> None:
    with serving(200, SERVED) as address:
        assert probe_report(address, TrainerReport) == REPORT


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(200, SERVED) as address:
        assert probe_report(address, TrainerReport) == REPORT


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(503, SERVED, id="not yet"),
        pytest.param(200, "<html>", id="not JSON"),
        pytest.param(200, '{"other": 1}', id="other JSON"),
        pytest.param(200, " " * (1 << 16) + SERVED, id="longer than any report"),
    ],
)
def test_other_answers_are_no_report(status: int, body: str) -> None:
    with serving(status, body) as address:
        assert probe_report(address, TrainerReport) is None


def test_a_report_of_the_other_stage_is_none() -> None:
    with serving(200, SERVED) as address:
        assert probe_report(address, EvaluatorReport) is None


def test_nobody_listening_is_no_report() -> None:
    (address,) = draw_addresses(1, {METRICS_PORT})
    assert probe_report(address, TrainerReport) is None


class Notes:
    """A view that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def progress(self, progress: Progress) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_warning_is_told_once_and_skipped_images_when_they_begin_and_in_the_end() -> None:
    view = Notes()
    notices = Notices(view)
    for skipped in (0, 2, 3, 5):
        notices.see(REPORT.model_copy(update={"skipped_images": skipped}))
    notices.count(5)
    notices.count(5)
    assert view.notes[0] == "warning: odd"
    assert [note.partition(": ")[2].partition("; ")[0][-3:] for note in view.notes[1:]] == [": 2", ": 5"]


def test_each_verification_is_told_once() -> None:
    view = Notes()
    notices = Notices(view)
    result = PairResult(dataset="lfw", accuracy=0.95, std=0.01, pairs=600)
    for epoch in (1, 1, 2):
        found = Verification(epoch=epoch, step=10 * epoch, results=[result])
        notices.see(TrainerReport(progress=PROGRESS.model_copy(update={"verification": found})))
    assert view.notes == [f"verified after epoch {epoch}: lfw 0.9500" for epoch in (1, 2)]
