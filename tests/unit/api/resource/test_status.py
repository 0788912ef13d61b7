from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from arcface_api.resource.status import PairResult, Progress, WorkersStatus

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
