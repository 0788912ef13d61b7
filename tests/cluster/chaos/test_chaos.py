"""Drawn jobs and drawn faults: whatever happens, nothing that must hold is ever broken. `make chaos` plays more."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from cluster.chaos import course, draw, stage
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.schedulers.kueue import Kueue
from testbed.schedulers.kueue_objects import FLAVOUR, URGENT, cluster_queue

EIGHT = (156, 303, 378, 424, 502, 730, 1892, 6318)
"""Seeds of each run of the tests. Ranks that train until their gang has been small are met on any machine: those of 424
and 6318 by a rank's death, of 502 by an eviction; in 1892 a pod never runs."""
RUNGS = {"InPlace", "OnePod", "WholeGang", "Elastic"}
SEED, RUNS = int(os.environ.get("SEED", "0")), int(os.environ.get("RUNS", "0"))
SEEDS = range(SEED, SEED + RUNS) if RUNS else EIGHT
CAST = cast("draw.Cast", os.environ.get("CAST", "one replica"))
REST_SECONDS = 2.0


@contextmanager
def queues(plane: ControlPlane, folder: Path, stories: Sequence[draw.Story]) -> Iterator[None]:
    """Kueue's manager, with quota for each of the jobs that queue, where there are any."""
    queued = [story for story in stories if story.is_queued]
    if not queued:
        yield
        return
    with Kueue(plane, folder / "kueue") as manager:
        quotas = [cluster_queue(story.name, story.replicas * story.devices) for story in queued]
        manager.apply([FLAVOUR, URGENT, *quotas])
        yield


def test_whatever_happens_nothing_that_must_hold_is_broken(
    control_plane: ControlPlane, all_fake_nodes: FakeNodes, tmp_path: Path
) -> None:
    began = time.monotonic()
    stories = [draw.draw(seed, CAST) for seed in SEEDS]
    with (
        stage.releases(control_plane, tmp_path, CAST) as of,
        stage.set_up(control_plane, all_fake_nodes, tmp_path, CAST, of) as set_up,
        queues(control_plane, tmp_path, stories),
    ):
        outcomes = course.play_all(set_up, stories)
        since = control_plane.audit_log.size()
        over = time.monotonic() + REST_SECONDS
        while time.monotonic() < over and not set_up.writes(since):
            time.sleep(0.1)
        written = set_up.writes(since)
    broken = [outcome for outcome in outcomes if outcome.broken]
    minutes = (time.monotonic() - began) / 60
    kinds = Counter(f"{'operator: ' * each.is_weather}{each.kind}" for story in stories for each in story.events)
    kinds += Counter(f"begins: {story.opening}" for story in stories if story.opening != "as usual")
    rungs = Counter(rung for outcome in outcomes for rung in outcome.rungs)
    speed = f"{len(stories) / minutes:.0f} runs a minute"
    print(f"{CAST}, seeds {SEEDS[0]} to {SEEDS[-1]}: {len(broken)} broken, {speed}")  # noqa: T201
    print("; ".join(f"{rung} {count}" for rung, count in rungs.most_common()))  # noqa: T201
    print("; ".join(f"{kind} {count}" for kind, count in kinds.most_common()))  # noqa: T201
    assert not broken, "\n\n".join(map(str, broken))
    assert RUNS or rungs.keys() == RUNGS
    assert not written, written


def test_a_seed_draws_the_same_story_again() -> None:
    assert [draw.draw(seed) for seed in range(50)] == [draw.draw(seed) for seed in range(50)]
    for cast_, weather in draw.WEATHER.items():
        stories = [draw.draw(seed, cast_) for seed in range(3000)]
        kinds = {event.kind for story in stories for event in story.events}
        assert kinds >= {*draw.MISHAPS, *weather}
        assert {story.opening for story in stories} >= {*draw.OPENINGS}
