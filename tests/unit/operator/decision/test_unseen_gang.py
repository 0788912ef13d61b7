"""Gangs that the operator cannot see, by the network between them: nothing follows from that but a word about it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import Condition
from arcface_operator.decision.answers.sighting import Reach, Sighting
from arcface_operator.decision.context import condition
from arcface_operator.decision.decide import decide, nodes_in_question
from support.builders.jobs import make_job
from support.builders.views import ASCEND, NOW, SETTINGS, make_report
from support.fakes.cluster_world import World, unready

DAY = 24 * 3600
RANKS = ("quick-worker-0", "quick-worker-1")
BLIND = [reach for reach in Reach if reach is not Reach.ANSWERS]


def sighting(world: World, reach: Reach, since: float = 0) -> Sighting:
    return Sighting(reach=reach, endpoint="10.244.0.1:9400", since=world.now - timedelta(seconds=since))


def look(world: World, reach: Reach | None = None, since: float = 0, report: TrainerReport | None = None) -> World:
    """One look at the job; rank 0 answers where there is a report, or has come to nothing for some time."""
    seen = None if reach is None else sighting(world, reach, since)
    if report is not None:
        seen = sighting(world, Reach.ANSWERS)
    observed = replace(world.observe(report=report, sighting=seen), watched_since=NOW)
    observed = replace(observed, lost_nodes=world.lost_nodes & nodes_in_question(observed, SETTINGS, world.now))
    return world.carried_out(decide(observed, SETTINGS, world.now))


def started(**workers: Any) -> World:
    """A job whose pods have nodes and run."""
    world = look(World(job=make_job(workers=workers or {"replicas": 2})))
    for name in RANKS:
        world = world.started(name)
    world = look(look(world))
    assert world.status.phase == "Starting"
    return look(world)


def reachable(world: World) -> Condition:
    found = condition(world.status, "Reachable")
    assert found is not None
    return found


def unseen(world: World, reach: Reach, seconds: float = DAY) -> World:
    """Hours in which nobody gets through."""
    since, step = 0.0, 600.0
    while since < seconds:
        world, since = look(look(world.later(step), reach, since + step)), since + step
    return world


@pytest.mark.parametrize("reach", BLIND)
def test_a_gang_that_nobody_ever_reached_trains_to_its_end(reach: Reach) -> None:
    world = unseen(started(), reach)
    assert (world.status.phase, world.status.restarts) == ("Starting", 0)
    assert (reachable(world).status, reachable(world).reason) == ("False", reach.value)
    for name in RANKS:
        world = world.exited(name, 0)
    assert look(world).status.phase == "Succeeded"


def test_pods_that_end_one_after_the_other_out_of_sight_have_started() -> None:
    world = look(unseen(started(), Reach.TIMED_OUT).exited(RANKS[1], 0).later(1))
    assert (world.status.phase, world.status.restarts) == ("Starting", 0)
    assert look(world.later(9).exited(RANKS[0], 0)).status.phase == "Succeeded"


def test_a_pod_that_is_not_ready_for_a_moment_out_of_sight_has_started() -> None:
    world = look(unready(unseen(started(), Reach.TIMED_OUT), RANKS[1]))
    assert (world.status.phase, world.status.restarts) == ("Starting", 0)


@pytest.mark.parametrize("reach", BLIND)
def test_a_gang_that_is_cut_off_while_it_trains_is_left_alone(reach: Reach) -> None:
    world = look(started(), report=make_report(7))
    assert (world.status.phase, reachable(world).status) == ("Training", "True")
    world = unseen(world, reach)
    assert (world.status.phase, world.status.restarts) == ("Training", 0)
    assert (reachable(world).status, reachable(world).reason) == ("False", reach.value)
    back = look(world, report=make_report(80))
    assert (back.status.phase, reachable(back).status, reachable(back).reason) == ("Training", "True", "Answers")
    assert back.status.progress is not None
    assert (back.status.progress.step, back.status.progress.updated_at) == (80, world.now)


def test_a_gang_that_stood_still_out_of_sight_says_so_itself() -> None:
    world = unseen(look(started(), report=make_report(7)), Reach.TIMED_OUT)
    again = look(world, report=make_report(7))
    assert (again.status.phase, again.status.failure.reason) == ("Restarting", "Stalled")  # type: ignore[union-attr]


def test_a_gang_out_of_sight_is_judged_by_its_pods() -> None:
    world = unseen(look(started(), report=make_report(7)), Reach.NO_ROUTE).exited(RANKS[1], 1).later(60)
    again = look(world)
    assert (again.status.phase, again.status.counted_restarts) == ("Restarting", 1)


@pytest.mark.parametrize("has_trained", [False, True], ids=["from the start", "from the middle"])
def test_a_deleted_pod_of_a_gang_at_which_both_ports_are_denied_has_all_pods_made_anew(*, has_trained: bool) -> None:
    """Port 9400 tells no progress, port 9399 no words."""
    reach = Reach.TIMED_OUT
    begun = unseen(look(started(), report=make_report(7)) if has_trained else started(), reach, 1200)
    world = look(begun.pod_deleted(RANKS[1]), reach, DAY)
    status = world.status
    assert (status.phase, status.attempt, status.restarts, status.counted_restarts) == ("Restarting", 1, 1, 0)
    assert all("deletionTimestamp" in pod["metadata"] for pod in world.pods.values())
    world = look(world.later(SETTINGS.termination_grace_seconds).swept())
    assert sorted(world.pods) == list(RANKS)
    for name in RANKS:
        world = world.started(name)
    world = unseen(look(look(world)), reach, 3600)
    assert (world.status.phase, world.status.attempt, world.status.restarts) == ("Starting", 1, 1)
    for name in RANKS:
        world = world.exited(name, 0)
    assert look(world).status.phase == "Succeeded"


def test_a_late_start_is_held_against_ranks_that_answer_alone() -> None:
    late = started().later(1800)
    assert look(late, Reach.REFUSED, 1800).status.phase == "Starting"
    told = look(late, report=TrainerReport())
    assert told.status.failure is not None
    assert told.status.failure.reason == "StartupDeadlineExceeded"


def test_a_late_rank_table_is_known_without_an_answer() -> None:
    world = started(**ASCEND)
    for name in RANKS:
        world = world.with_metadata(name, annotations={})
    late = look(look(world).later(1800), Reach.REFUSED, 1800)
    assert late.status.failure is not None
    assert "the rank table waits for quick-worker-0" in late.status.failure.message


def test_one_question_without_an_answer_says_nothing() -> None:
    world = look(started(), report=make_report(7))
    assert reachable(look(world.later(29), Reach.TIMED_OUT, 29)).status == "True"
    assert reachable(look(world.later(30), Reach.TIMED_OUT, 30)).status == "False"


def test_it_is_told_where_and_why() -> None:
    world = look(started(), Reach.TIMED_OUT, 60)
    assert reachable(world).message == (
        "10.244.0.1:9400 tells no progress: a NetworkPolicy drops what comes from the operator's pods, or the node is "
        "cut off; the pods alone judge the gang"
    )


def test_whether_a_gang_can_be_reached_is_unknown_while_there_is_none() -> None:
    world = look(started(), Reach.TIMED_OUT, 60)
    ended = look(world.exited(RANKS[0], 1).later(60))
    assert ended.status.phase == "Restarting"
    assert (reachable(ended).status, reachable(ended).reason) == ("Unknown", "NotRunning")


def test_a_gang_whose_first_node_is_lost_is_out_of_sight_for_that() -> None:
    world = unseen(look(started(), report=make_report(7)), Reach.TIMED_OUT, 600)
    elsewhere = look(replace(world, lost_nodes=frozenset({"node-1"})), Reach.TIMED_OUT, 600)
    assert elsewhere.status.phase == "Training"
    lost = look(replace(world, lost_nodes=frozenset({"node-0"})), Reach.TIMED_OUT, 600)
    assert lost.status.failure is not None
    assert (lost.status.phase, lost.status.failure.reason) == ("Restarting", "NodeLost")
    assert lost.status.counted_restarts == 0
