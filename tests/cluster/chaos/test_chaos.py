"""Drawn jobs and drawn faults: whatever happens, nothing that must hold is ever broken. `make chaos` plays more."""

import os
import time
from pathlib import Path

from cluster.chaos import draw, stage, witness
from support.processes.operator_process import grant_rights
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes

SEED, RUNS = int(os.environ.get("SEED", "1")), int(os.environ.get("RUNS", "8"))
REST_SECONDS = 2.0


def test_whatever_happens_nothing_that_must_hold_is_broken(
    control_plane: ControlPlane, all_fake_nodes: FakeNodes, tmp_path: Path
) -> None:
    grant_rights(control_plane)
    began = time.monotonic()
    stories = [draw.draw(seed) for seed in range(SEED, SEED + RUNS)]
    with stage.set_up(control_plane, all_fake_nodes, tmp_path / "operator") as set_up:
        endings = stage.play_all(set_up, stories)
        since = control_plane.audit_log.size()
        over = time.monotonic() + REST_SECONDS
        while time.monotonic() < over and not stage.writes_at_rest(set_up, since):
            time.sleep(0.1)
        written = stage.writes_at_rest(set_up, since)
    broken = [ending for ending in endings if ending.broken]
    minutes = (time.monotonic() - began) / 60
    print(f"seeds {SEED} to {SEED + RUNS - 1}: {len(broken)} broken, {RUNS / minutes:.0f} runs a minute")  # noqa: T201
    assert not broken, "\n\n".join(map(str, broken))
    assert not written, written


def test_a_seed_draws_the_same_story_again() -> None:
    assert [draw.draw(seed) for seed in range(50)] == [draw.draw(seed) for seed in range(50)]
    assert {event.kind for seed in range(500) for event in draw.draw(seed).events} >= {*draw.MISHAPS, "410", "503"}


def test_a_condition_that_says_more_than_happened_is_noticed() -> None:
    true = {"type": "Complete", "status": "True"}
    assert witness.untrue_conditions({"phase": "Training", "conditions": [true]}) == [
        "Complete is True in phase Training"
    ]
