"""Pods of this machine are read by the same reader as those of a cluster."""

from datetime import UTC, datetime, timedelta

import pytest

from arcface_operator.decision.observation import view_pod
from arcface_operator.local.kubelet.pod_status import NODE, reported, terminated
from arcface_operator.manifests.worker_pod import build_worker_pod
from support.builders.jobs import make_job
from support.builders.views import SETTINGS

MOMENT = datetime(2026, 11, 25, 12, 0, 5, 250_000, tzinfo=UTC)
POD = build_worker_pod(make_job(workers={"replicas": 2}), 1, 3, SETTINGS)
POD["metadata"] |= {"uid": "u", "creationTimestamp": MOMENT.isoformat()}


def test_a_pod_that_runs_has_room_and_an_address() -> None:
    view = view_pod(reported(POD, "127.70.0.2", None, None))
    assert (view.name, view.uid, view.component, view.attempt, view.index) == ("quick-worker-1", "u", "worker", 3, 1)
    assert (view.phase, view.address, view.node, view.is_ready) == ("Running", "127.70.0.2", NODE, True)
    assert (view.created, view.scheduled_at) == (MOMENT, MOMENT)
    assert (view.waits_for_room, view.is_leaving, view.is_disrupted, view.ended) == (False, False, False, None)


def test_a_pod_that_leaves_says_until_when() -> None:
    view = view_pod(reported(POD, "127.70.0.2", (MOMENT + timedelta(seconds=120), 120.0), None))
    assert (view.leaves_at, view.grace_seconds) == (MOMENT + timedelta(seconds=120), 120)


@pytest.mark.parametrize(
    ("code", "phase", "reason"), [(0, "Succeeded", "Completed"), (2, "Failed", "Error"), (137, "Failed", "Error")]
)
def test_a_pod_that_has_ended_tells_its_code_and_its_last_words(code: int, phase: str, reason: str) -> None:
    view = view_pod(reported(POD, "127.70.0.2", None, terminated(code, b"last \xff words", MOMENT)))
    assert view.ended is not None
    assert (view.phase, view.is_ready) == (phase, False)
    assert (view.ended.exit_code, view.ended.reason, view.ended.at) == (code, reason, MOMENT)
    assert view.ended.message == "last \ufffd words"
