import io
from datetime import UTC, datetime, timedelta

from rich.console import Console

from arcface_api.resource.status import Progress
from arcface_operator.local.view import BarView, LineView, describe, duration, open_view

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
    assert "data wait 36 % at rank 1, done" in describe(slow, NOW)


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
