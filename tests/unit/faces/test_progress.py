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
