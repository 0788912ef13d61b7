"""What must never be broken can be: operators that are wrong in one respect are found out, each in its first story."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.chaos import course, stage
from cluster.chaos.rehearsal import STORY, Rehearsal
from cluster.chaos.witness import Witness
from support.fakes.job_facts import Facts, Trouble
from support.processes import operator_changes as wrong
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes

REST_SECONDS = 3.0
AT_ONCE = 3
FOUND = {
    wrong.counts_twice.__name__: "2 restarts are counted after at most 1 faults",
    wrong.counts_nothing.__name__: "1 restarts, 0 of which count, after range(1, 2) faults",
    wrong.forgets_the_checkpoint.__name__: "the checkpoint went from step",
    wrong.does_not_wait_for_old_pods.__name__: "of attempt 1 was made while quick-worker",
    wrong.is_suspended_early.__name__: "Suspended is true while quick-",
    wrong.has_its_table_early.__name__: "and its table is not whole",
    wrong.leaves_the_end.__name__: "Succeeded was left for Restarting",
    wrong.writes_at_rest.__name__: "at rest was written",
    wrong.skips_the_evaluation.__name__: "succeeded without its evaluation",
    wrong.restarts_for_nothing.__name__: "of which count, after range(",
}
"""What is said of each."""
LEFT = "Course._is_nothing_left"
FACTS = Facts(troubles=(Trouble("error", 1, "not"),), is_ascend=True, backoff_limit=3)


OPENINGS = {wrong.is_suspended_early.__name__: "endless", wrong.restarts_for_nothing.__name__: "as usual"}


def facts_for(name: str) -> Facts:
    """A crash; for two no crash, for one of them a suspension."""
    if name not in OPENINGS:
        return FACTS
    return replace(FACTS, troubles=(), is_paused=name == wrong.is_suspended_early.__name__)


def test_an_operator_that_is_right_is_said_nothing_of() -> None:
    for facts in (FACTS, facts_for(wrong.is_suspended_early.__name__)):
        assert Rehearsal(lambda decide, *seen: decide(*seen), facts).said() == []


@pytest.mark.parametrize("name", wrong.WRONG)
def test_one_that_is_wrong_is_found_out(name: str) -> None:
    said = Rehearsal(wrong.WRONG[name], facts_for(name)).said()
    assert FOUND[name] in " ".join(said), said


@pytest.mark.skipif("RUNS" not in os.environ, reason="make chaos plays it; the same decisions are tried above")
def test_real_ones_that_are_wrong_are_found_out(
    control_plane: ControlPlane, all_fake_nodes: FakeNodes, tmp_path: Path
) -> None:
    names = [*wrong.WRONG, wrong.LEAVES_SOMETHING]

    def play(number: int, name: str) -> course.Outcome:
        opening = OPENINGS.get(name, "crashes")
        story = replace(STORY, seed=90_000 + number, opening=opening, clean_pod_policy="All")
        if opening == "endless":
            story = replace(story, events=(course.SUSPENSION,))
        folder = tmp_path / name
        with stage.set_up(control_plane, all_fake_nodes, folder, "one replica", of, story.name, name) as set_up:
            set_up.rest_seconds = REST_SECONDS
            return course.play(set_up, witness, story)

    with (
        stage.releases(control_plane, tmp_path, "one replica") as of,
        control_plane.client() as api,
        Witness(api) as witness,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        outcomes = dict(zip(names, threads.map(play, range(len(names)), names), strict=True))
    said = {name: " ".join(outcome.broken) for name, outcome in outcomes.items()}
    missed = [name for name in names if FOUND.get(name, LEFT) not in said[name]]
    assert not missed, "\n\n".join(f"{name}: {outcomes[name]}" for name in missed)
