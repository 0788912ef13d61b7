"""The names by which trainings are told apart."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from arcface_api.contract.history import History, HistoryLine, StretchStart
from arcface_evaluator.report import history_table

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        pytest.param(["/ck"], ["ck"], id="one"),
        pytest.param(["/ck", "/old/ck"], ["ck", "old/ck"], id="beside the root"),
        pytest.param(["/x/a/ck", "/y/a/ck", "/x/a/ck"], ["x/a/ck", "y/a/ck"], id="deeper, one twice"),
        pytest.param([b"/x/\xff\n"], [r"\udcff\n"], id="no text"),
    ],
)
def test_names_are_relative_paths_and_text(monkeypatch, paths, names):
    """Event files go into folders of these names: an absolute one would lead out of the folder that was named."""
    monkeypatch.setattr(History, "read", lambda path: History([], [], 0, path))
    read = history_table.read_histories([Path(os.fsdecode(path)) for path in paths])
    assert list(read) == names


def test_an_epoch_weighs_its_lines_by_their_steps_and_rates_by_their_time():
    """A short line stands before each save: 40 steps of 10 ms, and 1 of 600 ms that waited for images."""
    lines = [
        HistoryLine(
            stretch="a",
            at=NOW,
            step=step,
            epoch=step / 100,
            steps=steps,
            loss=loss,
            learning_rate=0.1,
            images_per_second=32 / seconds,
            step_milliseconds=1000 * seconds,
            data_wait_percent=wait,
        )
        for step, steps, loss, seconds, wait in [
            (20, None, 2.0, 0.01, 1.0),
            (40, 20, 2.0, 0.01, 1.0),
            (41, 1, 10.0, 0.6, 90.0),
        ]
    ]
    history = History([], lines, 0)
    (row,) = history_table.epoch_rows(history)
    epoch_loss, images, seconds = (40 * 2.0 + 10.0) / 41, 41 * 32, 40 * 0.01 + 0.6
    wait = (0.4 * 1 + 0.6 * 90) / seconds
    assert row == ["1", "41", f"{epoch_loss:.4f}", "0.1", f"{images / seconds:.0f}", f"{wait:.1f} %"]
    assert history_table.run_row("a", history)[5] == f"{wait:.1f} %"


@pytest.mark.parametrize(
    ("loss", "shown"),
    [(12.34567, "12.3457"), (-99_999.0, "-99999.0000"), (123_456.0, "1.235e+05"), (3.4028e38, "3.403e+38")],
)
def test_a_loss_that_runs_away_is_told_in_a_few_digits(loss, shown):
    line = HistoryLine(stretch="a", at=NOW, step=20, epoch=1.0, loss=loss, learning_rate=0.1)
    history = History([], [line], 0)
    assert (history_table.run_row("a", history)[3], history_table.epoch_rows(history)[0][2]) == (shown, shown)


def test_a_line_that_crosses_an_epochs_end_counts_for_each_epoch_by_its_steps():
    """Epochs of 15 steps; lines of 20 steps end after steps 20, 40, 60."""
    start = StretchStart(job="a", world_size=1, total_batch_size=32, steps_per_epoch=15, total_steps=60)
    begun = HistoryLine(stretch="a", at=NOW, step=0, epoch=0, start=start)
    lines = [
        HistoryLine(stretch="a", at=NOW, step=step, epoch=step / 15, steps=20, loss=loss, learning_rate=loss / 10)
        for step, loss in [(20, 3.0), (40, 2.0), (60, 1.0)]
    ]
    second, third = (5 * 3.0 + 10 * 2.0) / 15, (10 * 2.0 + 5 * 1.0) / 15
    assert history_table.epoch_rows(History([begun], [begun, *lines], 0)) == [
        ["1", "15", "3.0000", "", "", ""],
        ["2", "30", f"{second:.4f}", "0.3", "", ""],
        ["3", "45", f"{third:.4f}", "0.2", "", ""],
        ["4", "60", "1.0000", "0.1", "", ""],
    ]


def test_an_epoch_whose_lines_are_over_no_step_has_no_mean():
    line = HistoryLine(stretch="a", at=NOW, step=1, epoch=0.1, steps=0, loss=2.0, learning_rate=0.1)
    assert history_table.epoch_rows(History([], [line], 0)) == [["1", "1", "", "0.1", "", ""]]
