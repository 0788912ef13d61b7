"""The probe against a real server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from arcface_api.contract.pod_environment import METRICS_PORT
from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import PairResult, Progress, Verification
from arcface_operator.local import progress
from arcface_operator.local.kubelet.kubelet import draw_addresses
from arcface_operator.local.progress import Notices, ReportProbe, StepWatch

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
        assert ReportProbe()(address) == REPORT


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(200, SERVED) as address:
        assert ReportProbe()(address) == REPORT


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(503, SERVED, id="not yet"),
        pytest.param(200, "<html>", id="not JSON"),
        pytest.param(200, '{"other": 1}', id="other JSON"),
    ],
)
def test_other_answers_are_no_report(status: int, body: str) -> None:
    with serving(status, body) as address:
        assert ReportProbe()(address) is None


def test_nobody_listening_is_no_report() -> None:
    (address,) = draw_addresses(1, {METRICS_PORT})
    assert ReportProbe()(address) is None


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


def test_idle_time_counts_from_the_last_new_step() -> None:
    watch = StepWatch()
    assert watch.idle_seconds(5.0) is None
    watch.see(PROGRESS, 5.0)
    watch.see(PROGRESS, 9.0)
    assert watch.idle_seconds(11.0) == 6.0
    watch.see(PROGRESS.model_copy(update={"step": 21}), 12.0)
    assert watch.idle_seconds(12.5) == 0.5


def test_each_verification_is_told_once() -> None:
    view = Notes()
    notices = Notices(view)
    result = PairResult(dataset="lfw", accuracy=0.95, std=0.01, pairs=600)
    for epoch in (1, 1, 2):
        found = Verification(epoch=epoch, step=10 * epoch, results=[result])
        notices.see(TrainerReport(progress=PROGRESS.model_copy(update={"verification": found})))
    assert view.notes == [f"verified after epoch {epoch}: lfw 0.9500" for epoch in (1, 2)]
