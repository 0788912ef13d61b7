import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from arcface_api.errors import InvalidInput
from arcface_api.resource.status import (
    ArcFaceTrainingJobStatus,
    PairResult,
    Progress,
    WorkersStatus,
    without_newer_values,
    without_newer_words,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_figures_are_rounded_to_what_they_mean():
    progress = Progress(epoch=1, step=2, total_steps=3, loss=30.6834999, step_milliseconds=0.00004, updated_at=NOW)
    assert (progress.loss, progress.step_milliseconds) == (30.6835, 0.0)
    assert PairResult(dataset="lfw", accuracy=0.9981666666666668, std=0.0027284509239, pairs=6000).accuracy == 0.998167


def test_neighbouring_results_of_the_largest_sets_stay_different():
    one_genuine_pair = 1 / 19_557
    accuracies = [
        PairResult(dataset="x", accuracy=0.9 + hit * one_genuine_pair, std=0, pairs=1).accuracy for hit in (0, 1)
    ]
    assert accuracies[0] < accuracies[1]


def test_progress_survives_the_way_through_json():
    progress = Progress(epoch=3, epochs="3/20", step=2, total_steps=3, loss=1 / 3, updated_at=NOW)
    assert Progress.from_json(progress.to_json(), "progress") == progress


@pytest.mark.parametrize("summary", ["8", "8/", "8 / 8", "eight/8"])
def test_a_summary_is_ready_and_desired(summary):
    with pytest.raises(ValidationError):
        WorkersStatus(desired=8, summary=summary)
    assert WorkersStatus(desired=8, ready=3, summary="3/8").summary == "3/8"


def written(phase, *holding, **fields):
    """A status as a release writes it that may be newer."""
    at = "2026-11-24T12:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "reason": "Test", "message": "", "lastTransitionTime": at} for kind in holding
    ]
    return {"phase": phase, "conditions": conditions, **fields}


def read(status):
    return ArcFaceTrainingJobStatus.from_ours(json.dumps(without_newer_words(status)), "status")


@pytest.mark.parametrize(
    ("conditions", "phase"),
    [
        (("Failed", "Migrated"), "Failed"),
        (("Complete", "Evaluated", "Training"), "Succeeded"),
        (("Suspended",), "Suspended"),
        (("Ready", "Training", "Migrating"), "Training"),
        (("Ready",), "Queued"),
        ((), "Queued"),
    ],
)
def test_a_phase_of_a_newer_release_is_told_from_the_conditions(conditions, phase):
    status = read(written("Migrating", *conditions, startTime="2026-11-24T11:00:00Z", attempt=3))
    assert (status.phase, status.attempt) == (phase, 3)


def test_a_job_that_was_never_acted_on_has_no_phase_whatever_a_newer_release_calls_it():
    assert read(written("Drafted")).phase is None


def test_conditions_and_fields_of_a_newer_release_are_passed_over():
    workers = {"desired": 8, "spare": 1}
    status = read(written("Training", "Training", "Rescaled", rescaling={"from": 8}, workers=workers))
    assert (status.phase, [item.type for item in status.conditions]) == ("Training", ["Training"])
    assert status.workers == WorkersStatus(desired=8)


def test_a_status_of_this_release_is_read_as_it_is():
    status = written("Restarting", "Ready", "Training", startTime="2026-11-24T11:00:00Z")
    assert without_newer_words(status) == status
    assert read({}) == ArcFaceTrainingJobStatus()


SAVED = {"path": "quick/step-7", "step": 7, "savedAt": "2026-11-24T12:00:00Z", "sha256": "0" * 64}
NEWER = {
    "rankTable": {"state": "draining", "ready": 1, "total": 2},
    "evaluation": {"checkpoint": "step-7", "ijb": [{"dataset": "IJBS", "rates": {}}]},
    "failure": {"reason": "R", "message": "", "rank": "all"},
    "checkpoint": {**SAVED, "sha256": "blake3:00"},
    "workers": {"desired": 8, "summary": "8 of 8"},
    "elastic": {"attempt": 3, "pods": {"least": 2}, "changedAt": "2026-11-24T12:00:00Z"},
    "uncountedRestartTimes": ["2026-11-24T12:00:00Z"] * 101,
    "avoidedNodes": [{"name": f"n{n}", "reason": "R", "since": "2026-11-24T12:00:00Z"} for n in range(17)],
    "progress": {"step": "7/100"},
    "evaluationProgress": {"images": -1},
}


@pytest.mark.parametrize("part", NEWER)
def test_a_value_of_a_newer_release_costs_the_part_that_it_is_in_and_nothing_else(part):
    status = written("Training", "Training", attempt=3, restarts=2, startTime="2026-11-24T11:00:00Z", checkpoint=SAVED)
    newer = {**status, part: NEWER[part]}
    with pytest.raises(InvalidInput):
        read(newer)
    assert read(without_newer_values(newer)) == read({name: status[name] for name in status if name != part})
    assert without_newer_values(status) == status


def test_what_decisions_hang_on_is_not_made_up():
    with pytest.raises(InvalidInput, match="attempt"):
        read(without_newer_values(written("Training", attempt="third")))
