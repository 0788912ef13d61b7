"""What `status.recoveries` says of how a gang was started anew, against what its pods show."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from arcface_api.contract.pod_environment import SPARE

if TYPE_CHECKING:
    from cluster.chaos.account import PodLife

Status = dict[str, Any]
RESUMED_STEP = 70
"""Step of the checkpoint that all resume from, in the end; before that from none."""
MOST = 10
"""Recoveries that a status keeps."""
LARGE = 10**6


def untrue_recoveries(
    known: Sequence[tuple[int, Status]], workers: Sequence["PodLife"], *, is_whole: bool
) -> Iterator[str]:
    """What is wrong with them.

    Args:
        known: statuses of a job with their versions.
        workers: its rank pods, those that are gone included.
        is_whole: whether each pod was seen when it was made.
    """
    for (_, before), (version, status) in zip([(0, {}), *known], known, strict=False):
        recovery = _begun(before, status)
        if recovery is not None:
            yield from _untrue_beginning(before, status, recovery["rung"])
        elif _counts(before)[1] != _counts(status)[1] and "trainingCompletionTime" not in before:
            yield f"restart {_counts(status)[1]} is no recovery"
        if is_whole and (last := status.get("recoveries", [])[-1:]) and last[0]["rung"] in ("InPlace", "OnePod"):
            yield from _untrue_pods(known, version, last[0], workers)
        yield from _untrue_end(status)
    yield from _untrue_sizes(known, workers)


def _begun(before: Status, status: Status) -> Status | None:
    """A recovery that is new."""
    old, new = before.get("recoveries", []), status.get("recoveries", [])
    if len(new) > len(old) or (len(new) == MOST and _names(new)[:-1] == _names(old)[1:] and _names(new) != _names(old)):
        return dict(new[-1])
    return None


def _names(recoveries: Sequence[Status]) -> list[tuple[str, str, str]]:
    return [(each["since"], each["rung"], each["cause"]) for each in recoveries]


def _counts(status: Status) -> tuple[int, int, int]:
    """Attempt, restarts and launch."""
    return status.get("attempt", 0), status.get("restarts", 0), status.get("launch", 0)


def _untrue_beginning(before: Status, status: Status, rung: str) -> Iterator[str]:
    """Which of attempt, restarts and launch rise with a rung; several looks may have gone unseen."""
    (attempt, restarts, launch), (new_attempt, new_restarts, new_launch) = _counts(before), _counts(status)
    if len(status["recoveries"]) - len(before.get("recoveries", [])) > 1:
        return
    expected = {
        "InPlace": (attempt, restarts + 1, launch + 1),
        "OnePod": (attempt, restarts + 1, launch + 1),
        "WholeGang": (attempt + 1, restarts + 1, 0),
        "Elastic": (attempt + 1, restarts, 0),
    }[rung]
    if (new_attempt, new_restarts, new_launch) != expected:
        yield f"{rung} led from attempt, restart and launch {_counts(before)} to {_counts(status)}"


def _untrue_pods(
    known: Sequence[tuple[int, Status]], version: int, last: Status, workers: Sequence["PodLife"]
) -> Iterator[str]:
    """Pods that were made in the course of a recovery that has just come to its end: none, or one."""
    name = _names([last])
    own = [(at, each) for at, each in known if at <= version and _names(each.get("recoveries", [])[-1:]) == name]
    is_closed_now = "seconds" in last and all("seconds" not in each["recoveries"][-1] for _, each in own[:-1])
    if not is_closed_now or len(own) == 1:
        return
    attempt = own[0][1].get("attempt", 0)
    made = {life.index for life in workers if life.attempt == str(attempt) and own[0][0] < life.born < version}
    places = {str(each["replacement"]["pod"]) for _, each in own if each.get("replacement")}
    is_left = own[-1][1].get("attempt", 0) != attempt  # suspended, or out of the queue, before the pod was made
    if last["rung"] == "OnePod" and is_left:
        made |= places
    if made != (places if last["rung"] == "OnePod" else set()):
        yield f"{last['rung']} made pods {sorted(made)} anew in attempt {attempt}"


def _untrue_end(status: Status) -> Iterator[str]:
    """The newest recovery of a job that has succeeded is over; steps were lost from where all resume, or from none."""
    recoveries = status.get("recoveries", [])
    if status.get("phase") == "Succeeded" and recoveries and "seconds" not in recoveries[-1]:
        yield f"{recoveries[-1]['rung']} never came to its end"
    for each in recoveries:
        lost, step = each.get("stepsLost"), each.get("step", 0)
        if lost is not None and lost not in {step, max(0, step - RESUMED_STEP)}:
            yield f"{lost} steps were lost of {step}"


def _untrue_sizes(known: Sequence[tuple[int, Status]], workers: Sequence["PodLife"]) -> Iterator[str]:
    """No rank pod is beyond its attempt's size."""
    sizes: dict[str, int] = {}
    for _, status in known:
        if (size := status.get("elastic")) is not None:
            sizes[str(size["attempt"])] = size["pods"]
    for life in workers:
        if life.attempt != SPARE and int(life.index) >= sizes.get(life.attempt, LARGE):
            yield f"{life} is one more than the {sizes[life.attempt]} of its attempt"
