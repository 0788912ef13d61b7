"""The history is written behind the steps, goes on after restarts, and ends no training."""

import math
import os
from datetime import UTC, datetime
from threading import Event

import pytest

from arcface_api.contract.history import HISTORY_FILE, History
from arcface_api.contract.pod_environment import RankIdentity
from arcface_trainer.metrics import Meter, StepRecord
from arcface_trainer.training import history as history_module
from arcface_trainer.training.history import HistoryWriter, append_lines
from support.builders.training_plan import make_plan
from support.builders.verifications import found

PLAN = make_plan(total_batch_size=64, world_size=2)


def meter_at(step, loss=2.0, seconds=0.5):
    meter = Meter(PLAN.schedule.steps_per_epoch, PLAN.total_steps, PLAN.total_batch_size, step - 1)
    meter.add(StepRecord(loss, seconds, (0.0, 0.05), loss_scale=1024.0))
    return meter


def start(folder, step=0, rank=0):
    return HistoryWriter.start(folder, PLAN, RankIdentity(rank=rank, world_size=2, attempt=3), step)


def test_figures_and_verifications_are_read_back(tmp_path):
    with start(tmp_path) as writer:
        writer.add_figures(meter_at(20), 0.1, 7.5)
        writer.add_verification(found(20, 0.9))
    history = History.read(tmp_path)
    (line,) = history.figures
    assert (line.step, line.epoch, line.loss, line.learning_rate) == (20, 2.0, 2.0, 0.1)
    assert (line.images_per_second, line.step_milliseconds, line.data_wait_percent) == (128.0, 500.0, 10.0)
    assert (line.loss_scale, line.embedding_norm, line.not_finite) == (1024.0, 7.5, None)
    assert list(history.verifications) == [found(20, 0.9)]
    assert (history.start.world_size, history.start.attempt, history.start.total_steps) == (2, 3, 100)
    assert abs(line.at - datetime.now(UTC)).total_seconds() < 60


def test_a_stretch_goes_on_after_a_line_that_was_cut_short(tmp_path):
    with start(tmp_path) as writer:
        writer.add_figures(meter_at(20), 0.1, 7.5)
        writer.add_figures(meter_at(40), 0.1, 7.5)
    whole = (tmp_path / HISTORY_FILE).read_bytes()
    (tmp_path / HISTORY_FILE).write_bytes(whole[:-30])
    with start(tmp_path, 20) as writer:
        writer.add_figures(meter_at(40, loss=1.5), 0.1, 7.5)
    history = History.read(tmp_path)
    assert [(line.step, line.loss) for line in history.figures] == [(20, 2.0), (40, 1.5)]
    assert history.unreadable == 1


def test_a_roll_back_begins_a_stretch(tmp_path):
    with start(tmp_path) as writer:
        for step in (20, 40, 60):
            writer.add_figures(meter_at(step), 0.1, 7.5)
        writer.begin(30)
        writer.add_figures(meter_at(40), 0.05, 7.5)
    assert [(line.step, line.learning_rate) for line in History.read(tmp_path).figures] == [(20, 0.1), (40, 0.05)]


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_named(tmp_path, odd):
    with start(tmp_path) as writer:
        writer.add_figures(meter_at(20, loss=odd), 0.1, odd)
    (line,) = History.read(tmp_path).figures
    assert (line.loss, line.embedding_norm, sorted(line.not_finite)) == (None, None, ["embeddingNorm", "loss"])


def test_a_loss_that_was_not_finite_in_one_step_of_many_is_named(tmp_path):
    meter = meter_at(20, loss=math.nan)
    meter.add(StepRecord(2.0, 0.5, (0.0, 0.0)))
    with start(tmp_path) as writer:
        writer.add_figures(meter, 0.1, 7.5)
    (line,) = History.read(tmp_path).figures
    assert line.not_finite == ["loss"]


def test_only_the_first_rank_writes(tmp_path):
    with start(tmp_path, rank=1) as writer:
        writer.add_figures(meter_at(20), 0.1, 7.5)
    assert list(tmp_path.iterdir()) == []


def full(_descriptor, _content):
    raise OSError(28, os.strerror(28))


def test_a_full_disk_is_a_warning_and_what_it_refused_is_written_when_there_is_room(tmp_path, monkeypatch):
    really_write = os.write
    monkeypatch.setattr(os, "write", full)
    with start(tmp_path) as writer:
        writer._await()
        (warning,) = writer.warnings
        assert warning.endswith("(No space left on device): free space or mend the volume")
        monkeypatch.setattr(os, "write", really_write)
        writer.add_figures(meter_at(20), 0.1, 7.5)
    assert writer.warnings == []
    history = History.read(tmp_path)
    assert (len(history.starts), [line.step for line in history.figures]) == (1, [20])


def test_a_disk_that_writes_a_part_and_fails_costs_no_line(tmp_path, monkeypatch):
    really_write = os.write

    def half(descriptor, content):
        monkeypatch.setattr(os, "write", full)
        return really_write(descriptor, content[: len(content) // 2])

    with start(tmp_path) as writer:
        writer._await()
        monkeypatch.setattr(os, "write", half)
        writer.add_figures(meter_at(20), 0.1, 7.5)
        writer._await()
        monkeypatch.setattr(os, "write", really_write)
    history = History.read(tmp_path)
    assert ([line.step for line in history.figures], history.unreadable) == ([20], 1)


def test_a_disk_that_is_full_to_the_end_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", full)
    with start(tmp_path) as writer:
        for step in (20, 40, 60):
            writer.add_figures(meter_at(step), 0.1, 7.5)
    assert len(writer.warnings) == 1


def test_no_step_waits_for_a_disk_that_hangs(tmp_path, monkeypatch, caplog):
    answer = Event()

    def hang(path, lines):
        answer.wait(60)
        append_lines(path, lines)

    monkeypatch.setattr(history_module, "append_lines", hang)
    monkeypatch.setattr(history_module, "PATIENCE_SECONDS", 0.0)
    with start(tmp_path) as writer:
        writer.add_figures(meter_at(20), 0.1, 7.5)
    assert "its disk does not answer" in caplog.text
    answer.set()
    writer._writing.result(60)
    assert len((tmp_path / HISTORY_FILE).read_text().splitlines()) == 1, "the line that hung, and none beside it"


def test_of_lines_that_no_disk_takes_the_oldest_are_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(history_module, "MOST_KEPT", 2)
    with start(tmp_path) as writer:
        for step in (20, 40, 60):
            writer._await()
            writer.add_figures(meter_at(step), 0.1, 7.5)
        writer._await()
        assert len(writer._kept) == 2
