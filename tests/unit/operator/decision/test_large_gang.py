"""A look at a gang costs in proportion to its pods, whatever has befallen it."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from arcface_api.resource.status import Phase
from arcface_operator.decision.decide import decide, nodes_in_question
from arcface_operator.decision.observation import Observation, PodView
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS, ago, make_ended, make_prerequisites, make_worker
from support.decision_table import status_in

SMALL, LARGE = 512, 4096
LEAVING: dict[str, Any] = {"leaves_at": ago(-60), "grace_seconds": 120}
WAITING: dict[str, Any] = {"phase": "Pending", "is_ready": False, "address": None, "node": None}


def calls(look: Callable[[], object]) -> int:
    """Functions called, and generators resumed, in a look."""
    count = 0

    def note(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        look()
    finally:
        sys.setprofile(None)
    return count


def one_dead(size: int, **fields: Any) -> list[PodView]:
    return [*(make_worker(index, **fields) for index in range(size - 1)), make_ended(size - 1, code=1, **fields)]


@pytest.mark.parametrize(
    ("phase", "attempt", "gang"),
    [
        pytest.param("Queued", 0, lambda size: [make_worker(i, **WAITING) for i in range(size)], id="waits"),
        pytest.param("Training", 0, one_dead, id="has a dead pod"),
        pytest.param("Training", 0, lambda size: [make_worker(i) for i in range(size - 1)], id="has lost a pod"),
        pytest.param("Restarting", 1, lambda size: [make_worker(i) for i in range(size)], id="is to leave"),
        pytest.param("Restarting", 1, lambda size: [make_worker(i, **LEAVING) for i in range(size)], id="leaves"),
        pytest.param("Restarting", 1, lambda size: one_dead(size, **LEAVING), id="leaves a dead pod"),
    ],
)
def test_a_look_costs_in_proportion_to_the_pods(
    phase: Phase, attempt: int, gang: Callable[[int], list[PodView]]
) -> None:
    def look(size: int) -> int:
        job = make_job(workers={"replicas": size})
        job = job.model_copy(update={"status": status_in(phase, attempt=attempt)})
        observed = Observation(
            job=job, pods=tuple(gang(size)), prerequisites=make_prerequisites(), watched_since=ago(1)
        )
        return calls(lambda: (nodes_in_question(observed, SETTINGS, NOW), decide(observed, SETTINGS, NOW)))

    assert look(LARGE) <= 1.5 * LARGE / SMALL * look(SMALL)
