"""The course of one and of several trainings, as tables, as a page and as event files."""

import os
import re

import pytest
from click.testing import CliRunner

from arcface_api.command import run
from arcface_evaluator.commands.history import history
from support.builders.histories import figures, line, lines_of, write_history

PNG = b"\x89PNG\r\n\x1a\n"
RESTARTED = (lines_of("a", 0, 45), lines_of("b", 40, 100))


def shown(*words):
    ended = CliRunner(env={"COLUMNS": "40"}).invoke(history, [str(word) for word in words], catch_exceptions=False)
    assert ended.exit_code == 0
    return ended.output


def cells(output, first):
    """Cells of the row that begins with this one, put together where the table was too wide for a terminal."""
    rows = [[cell.strip() for cell in row.strip("│").split("│")] for row in output.splitlines() if "│" in row]
    found = [row for row in rows if row[0] == first]
    return [[first, *(cell for row in found for cell in row[1:])]] if found else []


def test_a_training_that_was_started_twice_is_one_course(tmp_path):
    output = shown(write_history(tmp_path / "faces", *RESTARTED))
    ((*course,),) = cells(output, "faces")
    assert course == ["faces", "100/100", "10.00", "5.0000", "200", "4.0 %", "2", "2", "0.65000", "0.65000 at step 100"]
    ((*epoch,),) = cells(output, "5")
    assert epoch == ["5", "50", "7.6250", "0.1", "200", "4.0 %", "0.55000", "0.65000"]


def test_several_trainings_are_told_apart_by_their_paths(tmp_path):
    folders = [write_history(tmp_path / name / "checkpoints", lines_of("a", 0, 20)) for name in ("one", "other")]
    output = shown(*folders, folders[0])
    (one,), (other,) = (cells(output, f"{name}/checkpoints") for name in ("one", "other"))
    assert len(one) == len(other) == 10


def test_a_table_of_trainings_that_were_not_verified_has_no_accuracies(tmp_path):
    """Of two, one of which was, both rows have them."""
    bare = write_history(tmp_path / "bare", [*lines_of("a", 0, 0), *figures("a", 20, loss=7.0, learning_rate=0.1)])
    output = shown(bare)
    assert len(cells(output, "bare")[0]) == 8
    assert "accuracy" not in output
    both = shown(bare, write_history(tmp_path / "verified", *RESTARTED))
    assert cells(both, "bare")[0][-2:] == ["", ""]


def test_a_training_without_a_step_and_one_with_numbers_that_are_not_finite_are_told(tmp_path):
    begun = write_history(tmp_path / "begun", lines_of("a", 0, 0))
    odd = write_history(
        tmp_path / "odd",
        [*lines_of("a", 0, 20), *figures("a", 25, loss=None, learning_rate=0.1, not_finite=["loss"])],
    )
    output = shown(begun, odd, "--report", tmp_path / "page")
    assert cells(output, "begun")[0][:3] == ["begun", "0/100", ""]
    assert cells(output, "odd")[0][3] == "not finite"


def page_of(folder):
    page = (folder / "history.html").read_text("utf-8")
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!data:|#)", page), "the page needs another file"
    return page


def test_the_page_has_curves_tables_and_the_origin_of_all(tmp_path):
    one, other = write_history(tmp_path / "one", *RESTARTED), write_history(tmp_path / "other", lines_of("a", 0, 30))
    output = shown(one, other, "--report", tmp_path / "page")
    assert f"report: {tmp_path}/page/history.html" in output
    page = page_of(tmp_path / "page")
    assert "<td>100/100</td>" in page
    assert "<td>30/100</td>" in page
    assert f"{one}/history.jsonl" in page
    assert "step 0 at 2026-11-27 00:00:00 UTC, step 40 at 2026-11-27 00:00:40 UTC" in page
    plots = {path.name: path.read_bytes() for path in (tmp_path / "page").glob("*.png")}
    assert set(plots) == {
        "course-loss.png",
        "course-learning-rate.png",
        "course-speed.png",
        "course-waiting-for-images.png",
        "course-length-of-the-embeddings.png",
        "course-accuracy-on-set-0.png",
        "course-accuracy-on-set-1.png",
    }
    assert all(content.startswith(PNG) for content in plots.values())


def test_names_from_outside_are_text(tmp_path):
    lines = [found.model_copy(update={"verification": None}) for found in lines_of("a", 0, 20)]
    folder = write_history(tmp_path / os.fsdecode(b"<b>[red]$\\odd_{$\xff"), lines)
    output = shown(folder, "--report", tmp_path / "page", "--tensorboard", tmp_path / "events")
    page = page_of(tmp_path / "page")
    assert "&lt;b&gt;[red]$\\odd_{$\\udcff" in page
    assert "<b>" not in page
    assert len(cells(output, "<b>[red]$\\odd_{$\\udcff")) == 1
    assert [path.name for path in (tmp_path / "events").iterdir()] == ["<b>[red]$\\odd_{$\\udcff"]


def test_a_training_that_goes_on_can_be_looked_at_again(tmp_path):
    folder = write_history(tmp_path / "faces", lines_of("a", 0, 20))
    shown(folder, "--report", tmp_path / "page")
    with (folder / "history.jsonl").open("a") as file:
        file.write(line("a", 25, learning_rate=0.1, loss=1.0).to_json()[:-9])
    output = shown(folder, "--report", tmp_path / "page")
    assert cells(output, "faces")[0][1] == "20/100"
    assert "faces: lines that cannot be read: 1\n" in output
    assert "<dt>lines that cannot be read</dt><dd>1</dd>" in page_of(tmp_path / "page")


@pytest.mark.parametrize("options", [(), ("--report", "page"), ("--tensorboard", "events")])
def test_a_folder_without_a_history_is_one_line(tmp_path, capsys, options):
    assert run(["history", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{tmp_path}/history.jsonl: is not there" in told


@pytest.mark.parametrize("option", ["--report", "--tensorboard"])
def test_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys, option):
    folder = write_history(tmp_path / "faces", lines_of("a", 0, 20))
    (tmp_path / "file").write_text("")
    assert run(["history", str(folder), option, str(tmp_path / "file")]) == 2
    told = capsys.readouterr().err
    assert told.splitlines()[-1].startswith(f"arcface history: {option} {tmp_path}/file")
