"""What must never be broken can be: operators that are wrong in one respect are found out, each in its first story."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.chaos import course, draw, stage
from cluster.chaos.rehearsal import LADDER_SETTINGS, RANK_DIES, STORY, Rehearsal
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
    wrong.counts_ranks_twice.__name__: "2 restarts are counted after at most 1 faults",
    wrong.calls_each_rung_in_place.__name__: "InPlace made pods ['1'] anew in attempt 0",
    wrong.never_recovers.__name__: "never came to its end",
    wrong.never_grows_back.__name__: "there is room for all, and the gang stays small",
}
"""What is said of each."""
LEFT = "Course._is_nothing_left"
NEVER_GROWS = wrong.never_grows_back.__name__
"""Found out by a real scheduler alone, which tells of room."""
STAYS = {wrong.does_not_wait_for_old_pods.__name__: "Course._rest.<locals>.is_clean"}
"""Said where a machine is so slow that old pods have left before the next ones are made: those are never removed."""
SECONDS = 60.0
"""For a story that comes to no end."""
TRAINS_SECONDS = 8.0
FACTS = Facts(troubles=(Trouble("error", 1, "not"),), is_ascend=True, backoff_limit=3)


OPENINGS = {wrong.is_suspended_early.__name__: "endless", wrong.restarts_for_nothing.__name__: "as usual"}


LADDER = {
    wrong.counts_ranks_twice.__name__: RANK_DIES,
    wrong.calls_each_rung_in_place.__name__: "vanished",
    wrong.never_recovers.__name__: RANK_DIES,
}
"""What befalls jobs whose pods, or all but one, stay."""


def rehearsal(name: str, operator: wrong.Wrong) -> Rehearsal:
    """A crash; for some a fault that is met by another rung, for two none at all, for one of them a suspension."""
    if name in LADDER:
        return Rehearsal(operator, replace(FACTS, troubles=(Trouble(LADDER[name], 1, "not"),)), LADDER_SETTINGS)
    if name in OPENINGS:
        is_paused = name == wrong.is_suspended_early.__name__
        return Rehearsal(operator, replace(FACTS, troubles=(), is_paused=is_paused))
    return Rehearsal(operator, FACTS)


@pytest.mark.parametrize("name", [wrong.counts_twice.__name__, *OPENINGS, *LADDER])
def test_an_operator_that_is_right_is_said_nothing_of(name: str) -> None:
    assert rehearsal(name, lambda decide, *seen: decide(*seen)).said() == []


@pytest.mark.parametrize("name", [name for name in wrong.WRONG if name != NEVER_GROWS])
def test_one_that_is_wrong_is_found_out(name: str) -> None:
    said = rehearsal(name, wrong.WRONG[name]).said()
    assert FOUND[name] in " ".join(said), said


def story_for(name: str) -> draw.Story:
    """The same as it is played by pods; ranks are long enough at work to be asked."""
    story = replace(STORY, opening=OPENINGS.get(name, "crashes"))
    if story.opening == "endless":
        return replace(story, events=(course.SUSPENSION,))
    if name == NEVER_GROWS:
        event = draw.Event("Training", 0.1, draw.ROOM_LOST, 1)
        return replace(story, opening="as usual", min_replicas=1, events=(event,))
    if LADDER.get(name) == "vanished":
        event = draw.Event("Training", 0.5, "launcher killed", 1)
        return replace(story, opening="as usual", trains_seconds=TRAINS_SECONDS, events=(event,))
    return replace(story, trains_seconds=TRAINS_SECONDS)


@pytest.mark.skipif("RUNS" not in os.environ, reason="make chaos plays it; the same decisions are tried above")
def test_real_ones_that_are_wrong_are_found_out(
    control_plane: ControlPlane, all_fake_nodes: FakeNodes, tmp_path: Path
) -> None:
    names = [*wrong.WRONG, wrong.LEAVES_SOMETHING]

    def play(number: int, name: str) -> course.Outcome:
        story, folder = replace(story_for(name), seed=90_000 + number, clean_pod_policy="All"), tmp_path / name
        settings = {**stage.QUICK, "restartsInPlace": name in {*LADDER, NEVER_GROWS}}
        place = folder, "one replica", of, story.name, name, settings
        with stage.set_up(control_plane, all_fake_nodes, *place) as set_up:
            set_up.rest_seconds = REST_SECONDS
            if name in {*STAYS, NEVER_GROWS}:
                set_up.seconds = SECONDS
            return course.play(set_up, witness, story)

    with (
        stage.releases(control_plane, tmp_path, "one replica") as of,
        control_plane.client() as api,
        Witness(api) as witness,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        outcomes = dict(zip(names, threads.map(play, range(len(names)), names), strict=True))
    said = {name: " ".join(outcome.broken) for name, outcome in outcomes.items()}
    expected = {name: {FOUND.get(name, LEFT), STAYS.get(name, FOUND.get(name, LEFT))} for name in names}
    missed = [name for name in names if not any(sentence in said[name] for sentence in expected[name])]
    assert not missed, "\n\n".join(f"{name}: {outcomes[name]}" for name in missed)
