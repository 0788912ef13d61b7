import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcface_operator.local.decision import WAIT, Action, Decision, Limits, Seen, decide, settle

LIMITS = Limits(backoff_limit=2, startup_seconds=30, stall_seconds=60, active_seconds=1000)


@pytest.mark.parametrize(
    ("seen", "action", "exit_code"),
    [
        pytest.param(Seen(exit_codes=(None, None)), Action.WAIT, 1, id="all run"),
        pytest.param(Seen(exit_codes=(0, None)), Action.WAIT, 1, id="one is done, wait for the rest"),
        pytest.param(Seen(exit_codes=(0, 0)), Action.DONE, 1, id="all are done"),
        pytest.param(Seen(exit_codes=(None, 2)), Action.FAIL, 2, id="invalid input is never retried"),
        pytest.param(Seen(exit_codes=(3, None)), Action.FAIL, 3, id="divergence is never retried"),
        pytest.param(Seen(exit_codes=(1, 2)), Action.FAIL, 2, id="invalid input counts more than its victim"),
        pytest.param(Seen(exit_codes=(None, 1)), Action.RETRY, 1, id="fault"),
        pytest.param(Seen(exit_codes=(0, 1)), Action.RETRY, 1, id="fault after a peer is done"),
        pytest.param(Seen(exit_codes=(137, None)), Action.RETRY, 1, id="killed"),
        pytest.param(Seen(exit_codes=(143, None)), Action.RETRY, 1, id="stopped by somebody else"),
        pytest.param(Seen(exit_codes=(1, None), restarts=1), Action.RETRY, 1, id="second fault"),
        pytest.param(Seen(exit_codes=(1, None), restarts=2), Action.FAIL, 1, id="no restarts left"),
        pytest.param(Seen(exit_codes=(None,), attempt_seconds=30), Action.WAIT, 1, id="start-up at its limit"),
        pytest.param(Seen(exit_codes=(None,), attempt_seconds=31), Action.RETRY, 1, id="start-up too long"),
        pytest.param(
            Seen(exit_codes=(None,), attempt_seconds=31, restarts=2), Action.FAIL, 1, id="start-up too long for good"
        ),
        pytest.param(
            Seen(exit_codes=(None,), attempt_seconds=500, idle_seconds=59), Action.WAIT, 1, id="slow but moving"
        ),
        pytest.param(Seen(exit_codes=(None,), idle_seconds=61), Action.RETRY, 1, id="stalled"),
        pytest.param(
            Seen(exit_codes=(None,), active_seconds=1001, idle_seconds=0), Action.FAIL, 1, id="active too long"
        ),
        pytest.param(Seen(exit_codes=(0,), active_seconds=1001), Action.DONE, 1, id="done at the last moment"),
        pytest.param(Seen(exit_codes=(None, None), is_stop_requested=True), Action.STOP, 1, id="asked to stop"),
        pytest.param(Seen(exit_codes=(None, 1), is_stop_requested=True), Action.STOP, 1, id="no restart after a stop"),
        pytest.param(Seen(exit_codes=(0, 0), is_stop_requested=True), Action.DONE, 1, id="done before the stop"),
        pytest.param(Seen(exit_codes=(2, None), is_stop_requested=True), Action.FAIL, 2, id="failed before the stop"),
    ],
)
def test_decide(seen: Seen, action: Action, exit_code: int) -> None:
    decision = decide(seen, LIMITS)
    assert decision.action is action
    if action is Action.FAIL:
        assert decision.exit_code == exit_code


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        pytest.param(
            Seen(exit_codes=(137,), restarts=1), "a pod ended with exit code 137; restart 2 of 2", id="restart"
        ),
        pytest.param(
            Seen(exit_codes=(1,), restarts=2),
            "a pod ended with exit code 1, and backoffLimit 2 is used up",
            id="used up",
        ),
        pytest.param(
            Seen(exit_codes=(None,), attempt_seconds=99),
            "training has not begun after startupDeadlineSeconds 30; restart 1 of 2",
            id="start-up",
        ),
        pytest.param(
            Seen(exit_codes=(None,), idle_seconds=99),
            "no new step for stallSeconds 60; restart 1 of 2",
            id="stall",
        ),
        pytest.param(
            Seen(exit_codes=(None,), active_seconds=2000), "not done after activeDeadlineSeconds 1000", id="deadline"
        ),
    ],
)
def test_reasons_name_the_fault_and_the_field(seen: Seen, reason: str) -> None:
    assert decide(seen, LIMITS).reason == reason


def test_without_bounds_a_running_gang_is_left_alone() -> None:
    seen = Seen(exit_codes=(None,), active_seconds=1e9, attempt_seconds=1e9, idle_seconds=1e9)
    assert decide(seen, Limits(backoff_limit=0)) == WAIT


def test_a_peer_that_ends_with_invalid_input_while_stopping_prevents_the_restart() -> None:
    retry = Decision(Action.RETRY, "fault")
    assert settle(retry, (1, 2)).action is Action.FAIL
    assert settle(retry, (1, 2)).exit_code == 2
    assert settle(retry, (1, 143)) == retry
    stop = Decision(Action.STOP)
    assert settle(stop, (143, 2)) == stop


CODES = st.lists(st.none() | st.sampled_from([0, 1, 2, 3, 137, 143]), min_size=1, max_size=4).map(tuple)


@given(CODES, st.integers(0, 5), st.floats(0, 2000), st.none() | st.floats(0, 100), st.booleans())
def test_restarts_never_exceed_the_limit_and_done_means_all_well(
    codes: tuple[int | None, ...], restarts: int, seconds: float, idle: float | None, stop: bool
) -> None:
    seen = Seen(
        exit_codes=codes,
        restarts=restarts,
        active_seconds=seconds,
        attempt_seconds=seconds,
        idle_seconds=idle,
        is_stop_requested=stop,
    )
    decision = decide(seen, LIMITS)
    assert decision.action is not Action.RETRY or restarts < LIMITS.backoff_limit
    assert (decision.action is Action.DONE) == (set(codes) == {0})
    if {2, 3} & set(codes):
        assert decision.action is Action.FAIL
