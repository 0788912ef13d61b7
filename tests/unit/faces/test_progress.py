"""What a log shows of something long."""

import pytest

from arcface_faces import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass as the test says."""
    times = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: times[0])
    return times


def test_a_log_has_a_line_every_ten_seconds_with_the_time_left(clock, capsys):
    with progress.progress_bar("[red]faces", 100) as advance:
        for _ in range(10):
            clock[0] += 4
            advance(5)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "[red]faces: 15 of 100, 68 s left",
        "[red]faces: 30 of 100, 56 s left",
        "[red]faces: 45 of 100, 44 s left",
    ]


def test_what_is_done_sooner_leaves_no_line(clock, capsys):
    with progress.progress_bar("faces", 3) as advance:
        clock[0] += 9.9
        advance(3)
    assert capsys.readouterr().err == ""


def test_whoever_watches_is_told_of_all_that_is_done_meanwhile():
    watched = []
    with progress.watched_by(watched.append):
        for name in ("hashing", "embedding"):
            with progress.progress_bar(name, 5) as advance:
                advance(2)
                advance(3)
    with progress.progress_bar("drawing", 1) as advance:
        advance(1)
    assert watched == [2, 3, 2, 3]
