"""What to do with a gang of pods: pure rules on plain values, read from top to bottom."""

from dataclasses import dataclass
from enum import Enum

from arcface_api.errors import NEVER_RETRIED, ExitCode


class Action(Enum):
    """What follows."""

    WAIT = "wait"
    DONE = "done"
    RETRY = "retry"
    FAIL = "fail"
    STOP = "stop"


@dataclass(frozen=True)
class Decision:
    """An action and why."""

    action: Action
    reason: str = ""
    exit_code: int = int(ExitCode.FAILED)
    """Of the whole run, for FAIL."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on time and retries; None is no bound."""

    backoff_limit: int
    startup_seconds: float | None = None
    stall_seconds: float | None = None
    active_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A gang at one moment."""

    exit_codes: tuple[int | None, ...]
    """One a pod, None while it runs."""
    restarts: int = 0
    """Attempts before this one."""
    active_seconds: float = 0.0
    """Since the run began."""
    attempt_seconds: float = 0.0
    """Since this attempt began."""
    idle_seconds: float | None = None
    """Since the last new step; None until training has begun."""
    is_stop_requested: bool = False


WAIT = Decision(Action.WAIT)


def decide(seen: Seen, limits: Limits) -> Decision:
    """The next action."""
    ended = [code for code in seen.exit_codes if code is not None]
    if final := [code for code in ended if code in NEVER_RETRIED]:
        return Decision(Action.FAIL, f"exit code {final[0]} is never retried", final[0])
    if len(ended) == len(seen.exit_codes) and not any(ended):
        return Decision(Action.DONE)
    if seen.is_stop_requested:
        return Decision(Action.STOP)
    if _exceeds(seen.active_seconds, limits.active_seconds):
        return Decision(Action.FAIL, f"not done after activeDeadlineSeconds {limits.active_seconds:g}")
    if fault := _fault_of(seen, limits):
        return _retry_or_fail(fault, seen.restarts, limits.backoff_limit)
    return WAIT


def _fault_of(seen: Seen, limits: Limits) -> str | None:
    """What is wrong with the gang and may be cured by starting it again."""
    if failed := [code for code in seen.exit_codes if code]:
        return f"a pod ended with exit code {failed[0]}"
    if seen.idle_seconds is None:
        if _exceeds(seen.attempt_seconds, limits.startup_seconds):
            return f"training has not begun after startupDeadlineSeconds {limits.startup_seconds:g}"
    elif _exceeds(seen.idle_seconds, limits.stall_seconds):
        return f"no new step for stallSeconds {limits.stall_seconds:g}"
    return None


def _retry_or_fail(fault: str, restarts: int, backoff_limit: int) -> Decision:
    """Another attempt while there is one left."""
    if restarts < backoff_limit:
        return Decision(Action.RETRY, f"{fault}; restart {restarts + 1} of {backoff_limit}")
    return Decision(Action.FAIL, f"{fault}, and backoffLimit {backoff_limit} is used up")


def settle(decision: Decision, exit_codes: tuple[int | None, ...]) -> Decision:
    """The decision after all pods have ended: the peers of a pod with bad input may have died of it first."""
    final = [code for code in exit_codes if code in NEVER_RETRIED]
    if decision.action is Action.RETRY and final:
        return Decision(Action.FAIL, f"exit code {final[0]} is never retried", int(final[0] or 0))
    return decision


def _exceeds(value: float, limit: float | None) -> bool:
    """Whether a bound is there and passed."""
    return limit is not None and value > limit
