import json

import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import (
    TERMINATION_MESSAGE_LIMIT,
    EvaluatorReport,
    GateFigures,
    IjbResult,
    PairResult,
    Report,
    ReportedFailure,
    TrainerReport,
    failure_from,
    termination_message,
)
from arcface_api.errors import ArcFaceError, Diverged, InvalidInput, Stopped
from arcface_api.resource.spec import MOST_SETS, MOST_TEMPLATE_SETS

FARS = [f"1e-{digits}" for digits in range(6, 0, -1)]


def failed(message="lost", log=()):
    return TrainerReport(failure=ReportedFailure(reason="Error", message=message, exit_code=1, log=list(log)))


def test_a_short_report_is_written_whole():
    report = failed(log=["one", "two"])
    assert TrainerReport.from_json(termination_message(report), "message") == report


def test_a_report_says_whose_it_is_and_is_taken_for_nobody_elses():
    report = failed().signed(RankIdentity(job_uid="a", attempt=2))
    assert TrainerReport.parse(report.to_json()) == report
    assert report.is_of("a", 2)
    assert not report.is_of("a", 1)
    assert not report.is_of("b", 2)


def test_a_report_of_an_earlier_release_is_taken_on_trust():
    assert failed().is_of("a", 2)
    assert failed().signed(RankIdentity(attempt=2)).is_of("a", 2)
    assert not failed().signed(RankIdentity(attempt=1)).is_of("a", 2)


def test_the_oldest_log_lines_go_first():
    lines = [f"line {number} " + "x" * 50 for number in range(200)]
    text = termination_message(failed(log=lines))
    kept = TrainerReport.from_json(text, "message").failure.log
    assert len(text) <= TERMINATION_MESSAGE_LIMIT
    assert kept == lines[-len(kept) :]
    assert len(termination_message(failed(log=lines[-len(kept) - 1 :]))) == len(text)


@pytest.mark.parametrize("letter", ["x", "é", "顔", "😀", '"', "\x00"], ids=ascii)
def test_a_long_message_keeps_its_beginning_whatever_its_letters_weigh(letter):
    message = "no space left: " + letter * 5000
    text = termination_message(failed(message=message))
    kept = TrainerReport.from_json(text, "message").failure.message
    assert len(text) <= TERMINATION_MESSAGE_LIMIT
    assert message.startswith(kept)
    assert len(kept) >= 15


def test_one_log_line_too_long_for_the_limit_is_dropped():
    report = TrainerReport.from_json(termination_message(failed(log=["x" * 9000])), "message")
    assert (report.failure.message, report.failure.log) == ("lost", [])


def test_results_of_all_known_sets_fit():
    names = ["lfw", "cfp_fp", "agedb_30", "calfw", "cplfw"]
    report = EvaluatorReport(
        checkpoint="step-00113720",
        results=[PairResult(dataset=name, accuracy=1 / 3, std=1 / 7, pairs=6000) for name in names],
        ijb=[IjbResult(dataset=name, tar_at_far=dict.fromkeys(FARS, 2 / 3)) for name in ("IJBB", "IJBC")],
    )
    text = termination_message(report)
    assert len(text) < TERMINATION_MESSAGE_LIMIT / 2
    assert EvaluatorReport.from_json(text, "message") == report


def test_absent_values_are_left_out():
    assert json.loads(termination_message(TrainerReport())) == {"warnings": [], "skippedImages": 0}


def test_the_last_warnings_go_before_the_message():
    warnings = [f"warning {number} " + "x" * 500 for number in range(20)]
    report = failed(message="disk is gone").model_copy(update={"warnings": warnings})
    text = termination_message(report)
    kept = TrainerReport.from_json(text, "message")
    assert len(text) <= TERMINATION_MESSAGE_LIMIT
    assert kept.failure.message == "disk is gone"
    assert kept.warnings == warnings[: len(kept.warnings)]
    assert len(kept.warnings) >= 6


def test_a_warning_too_long_for_the_limit_is_dropped():
    assert TrainerReport.from_json(termination_message(TrainerReport(warnings=["é" * 5000])), "m").warnings == []


def test_results_of_the_most_and_longest_sets_fit():
    names = [f"{number:02d}" + "x" * 61 for number in range(MOST_SETS)]
    of_templates = [f"{number:02d}" + "y" * 61 for number in range(MOST_TEMPLATE_SETS)]
    report = EvaluatorReport(
        checkpoint="step-00113720",
        results=[PairResult(dataset=name, accuracy=1 / 3, std=1 / 7, pairs=10**7) for name in names],
        ijb=[IjbResult(dataset=name, tar_at_far=dict.fromkeys(FARS, 2 / 3)) for name in of_templates],
        figures=GateFigures.of({f"{number}.eer": 1 / 3 for number in range(64)}),
    )
    message = termination_message(report)
    assert len(message) <= TERMINATION_MESSAGE_LIMIT
    assert EvaluatorReport.parse(message) == report


@pytest.mark.parametrize(
    ("error", "reason", "message", "code"),
    [
        pytest.param(InvalidInput("a\n.bin: is empty"), "InvalidInput", r"a\n.bin: is empty", 2, id="input"),
        pytest.param(Diverged("loss is nan"), "Diverged", "loss is nan", 3, id="diverged"),
        pytest.param(Stopped("saved at step 7"), "Stopped", "saved at step 7", 143, id="stopped"),
        pytest.param(ArcFaceError("disk"), "Error", "disk", 1, id="may pass"),
        pytest.param(KeyError("x"), "Error", "KeyError: 'x'", 1, id="not ours"),
        pytest.param(ValueError("of\ntwo lines \udcff"), "Error", r"ValueError: of two lines \udcff", 1, id="no text"),
    ],
)
def test_a_failure_says_what_the_exit_code_says(error, reason, message, code):
    failure = failure_from(error, rank=5)
    assert (failure.reason, failure.message, failure.exit_code, failure.rank) == (reason, message, code, 5)
    assert termination_message(TrainerReport(failure=failure))


def test_a_divergence_is_of_the_rank_where_it_began():
    assert failure_from(Diverged("the loss not finite on rank 2", rank=2), rank=5).rank == 2


def test_what_a_newer_release_adds_is_passed_over():
    message = b'{"failure": {"reason": "Error", "message": "lost", "exitCode": 1}, "novelty": {"a": 1}}'
    for kind in (Report, TrainerReport, EvaluatorReport):
        assert kind.parse(message).failure.message == "lost"


@pytest.mark.parametrize("message", [b"", b"Traceback", b"[]", b"7", b"\xff", b"{}", b'{"failure": 3}', b'{"a": 1}'])
def test_what_is_no_report_is_none(message):
    assert TrainerReport.parse(message) is None


def test_a_report_is_written_as_the_message(tmp_path):
    report = failed(log=["one"])
    assert report.write(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == termination_message(report)


def test_a_report_that_cannot_be_written_changes_no_end(tmp_path, caplog):
    assert not failed().write(tmp_path / "nowhere" / "log")
    assert f"the report cannot be written file={tmp_path}/nowhere/log reason=No such file" in caplog.text
