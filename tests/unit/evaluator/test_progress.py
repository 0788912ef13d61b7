"""What an evaluator tells of itself while it runs."""

import urllib.error
import urllib.request

import pytest

from arcface_api.contract.reports import EvaluatorReport
from arcface_evaluator.progress import ImageCount, serving
from support.slow_clients import assert_slow_ones_hold_nothing


def told(port, path="/progress"):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return EvaluatorReport.from_json(answer.read(), "/progress")


def test_the_count_is_served_as_it_is_when_it_is_asked_for():
    count = ImageCount()
    with serving("127.0.0.1", 0, lambda: EvaluatorReport(progress=count.progress)) as port:
        before = told(port).progress
        assert before.images == 0
        count.add(64)
        assert told(port).progress.updated_at > before.updated_at
        assert told(port).progress.images == 64
        with pytest.raises(urllib.error.HTTPError, match="404"):
            told(port, "/metrics")


def test_a_port_that_is_taken_does_not_end_the_evaluation():
    with serving("127.0.0.1", 0, EvaluatorReport) as port, serving("127.0.0.1", port, EvaluatorReport) as none:
        assert none == 0


def test_a_name_server_that_is_silent_holds_nothing_up(monkeypatch):
    monkeypatch.setattr("socket.getfqdn", lambda _name="": pytest.fail("a name is looked up"))
    with serving("127.0.0.1", 0, EvaluatorReport) as port:
        assert told(port) == EvaluatorReport()


def test_a_client_that_sends_nothing_holds_no_thread(monkeypatch):
    with serving("127.0.0.1", 0, EvaluatorReport) as port:
        assert_slow_ones_hold_nothing(monkeypatch, "127.0.0.1", port)
