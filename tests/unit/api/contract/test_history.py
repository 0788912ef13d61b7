"""Several stretches of a training are read back as one, whatever was cut short or went on writing."""

import errno
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from arcface_api.contract.history import History, HistoryLine, StretchStart
from arcface_api.errors import ArcFaceError, InvalidInput
from support.builders.verifications import found

START = StretchStart(job="faces", world_size=2, total_batch_size=64, steps_per_epoch=10, total_steps=100)
AT = datetime(2026, 11, 27, tzinfo=UTC)


def line(stretch, step, **content):
    made = HistoryLine(stretch=stretch, at=AT, step=step, epoch=step / 10, **content)
    return made.to_json().encode()


def begin(stretch, step):
    return line(stretch, step, start=START)


def figures(stretch, *steps):
    return [line(stretch, step, loss=float(step), learning_rate=0.1) for step in steps]


def told(history):
    return [(line.stretch, line.step) for line in history.figures]


def test_what_a_later_stretch_computes_anew_is_passed_over():
    texts = [begin("a", 0), *figures("a", 20, 40, 60), begin("b", 40), *figures("b", 60, 80)]
    history = History.of(texts)
    assert told(history) == [("a", 20), ("a", 40), ("b", 60), ("b", 80)]
    assert [start.step for start in history.starts] == [0, 40]


def test_a_stretch_that_was_taken_for_lost_and_goes_on_writing_changes_nothing():
    texts = [begin("a", 0), *figures("a", 20), begin("b", 20), *figures("b", 40), *figures("a", 40, 60, 80)]
    assert told(History.of(texts)) == [("a", 20), ("b", 40)]


def test_a_training_that_begins_anew_in_the_folder_has_nothing_of_the_earlier_one():
    history = History.of([begin("a", 0), *figures("a", 20), begin("b", 0), *figures("b", 20)])
    assert told(history) == [("b", 20)]


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_line_that_is_cut_short_is_no_error(cut):
    whole = [begin("a", 0), *figures("a", 20)]
    history = History.of([*whole, figures("a", 40)[0][:cut], begin("b", 20), *figures("b", 40)])
    assert (told(history), history.unreadable) == ([("a", 20), ("b", 40)], 1)


def test_a_line_that_was_written_again_after_a_failure_counts_once():
    (again,) = figures("a", 20)
    assert told(History.of([begin("a", 0), again, again[:9], again])) == [("a", 20)]


def test_fields_and_kinds_of_lines_of_a_newer_release_are_passed_over():
    newer = json.loads(figures("a", 20)[0]) | {"gradientNorm": 3.5}
    other_kind = {"stretch": "a", "at": "2026-11-27T00:00:00Z", "step": 30, "epoch": 3.0, "alarm": {"rank": 3}}
    history = History.of([begin("a", 0), json.dumps(newer).encode(), json.dumps(other_kind).encode()])
    assert (told(history), history.unreadable) == ([("a", 20)], 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"at": "0001-01-01T00:00:00"},
        {"epoch": 1e308},
        {"loss": float("nan")},
        {"verification": {"epoch": 2, "step": 20, "results": []}},
    ],
    ids=["time without a zone", "epoch", "not a number", "verification of nothing"],
)
def test_a_line_that_no_training_writes_is_passed_over(odd):
    text = json.dumps(json.loads(figures("a", 40)[0]) | odd).encode()
    history = History.of([begin("a", 0), *figures("a", 20), text])
    assert (told(history), history.unreadable) == ([("a", 20)], 1)


def test_a_network_that_was_verified_again_is_told_once():
    texts = [begin("a", 0), line("a", 20, verification=found(20, 0.8)), begin("b", 20)]
    texts.append(line("b", 20, verification=found(20, 0.8, pairs=3000)))
    (verification,) = History.of(texts).verifications
    assert verification.results[0].pairs == 3000


def test_the_file_is_found_in_the_folder_of_the_checkpoints(tmp_path):
    (tmp_path / "history.jsonl").write_bytes(b"\n".join([begin("a", 0), *figures("a", 20)]))
    for path in (tmp_path, tmp_path / "history.jsonl"):
        history = History.read(path)
        assert (history.start, told(history)) == (START, [("a", 20)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "history.jsonl: is not there; give a folder of checkpoints", id="absent"),
        pytest.param(b"", "holds no line of a training's history", id="empty"),
        pytest.param(b"\x00\xff\n{}\n" + b"[" * 100_000, "holds no line of a training's history", id="something else"),
    ],
)
def test_what_is_no_history_is_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "history.jsonl").write_bytes(content)
    with pytest.raises(InvalidInput, match=words):
        History.read(tmp_path)


def test_a_file_that_cannot_be_read_now_is_worth_another_try(tmp_path, monkeypatch):
    def fail(_path):
        raise OSError(errno.ESTALE, "Stale file handle")

    (tmp_path / "history.jsonl").write_bytes(begin("a", 0))
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(ArcFaceError, match="this may pass, try again") as caught:
        History.read(tmp_path)
    assert not isinstance(caught.value, InvalidInput)
