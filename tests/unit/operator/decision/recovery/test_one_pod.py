"""A pod of a gang at work is lost and made anew alone: what is decided at each look, on plain values."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from arcface_api.contract.launcher_words import FETCH_SECONDS, GangWord
from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION
from arcface_api.contract.rank_table import RankTableDocument
from arcface_api.resource.status import Condition
from arcface_operator.decision.answers.sighting import Reach, Sighting
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import HeardWords
from arcface_operator.decision.plan import Plan
from support.builders.jobs import make_job
from support.builders.plans import plan_in
from support.builders.views import ASCEND, SETTINGS, ago, make_ended, make_report, make_worker
from support.fakes.cluster_world import World

NAMES = [f"quick-worker-{index}" for index in range(3)]
LOST = NAMES[1]
Strike = Callable[[World], World]


def look(world: World, actions: int | None = None, **seen: Any) -> World:
    """One look of the operator, which may die after some of its actions."""
    plan = plan_for(world, **seen)
    return world.carried_out(plan, None if actions is None else plan.actions[:actions])


def plan_for(world: World, **seen: Any) -> Plan:
    return decide(replace(world.observe(report=seen.pop("report", None)), **seen), SETTINGS, world.now)


def at_work(**spec: Any) -> World:
    """A gang of three pods that trains."""
    world = look(look(World(job=make_job(workers={"replicas": 3, **spec.pop("workers", {})}, **spec))))
    for name in NAMES:
        world = world.started(name)
    world = look(look(look(world)), report=make_report(7)).later(60)
    assert world.status.phase == "Training"
    return world


def unseen(world: World) -> World:
    """The gang once nobody gets through to its first pod."""
    since = world.now
    seen = Sighting(reach=Reach.TIMED_OUT, endpoint="10.244.0.1:9400", since=since)
    world = world.later(SETTINGS.unreachable_seconds)
    return world.written(decide(replace(world.observe(), sighting=seen), SETTINGS, world.now).status)


def calls(world: World) -> list[str]:
    """What the pods have been called to."""
    return [pod["metadata"].get("annotations", {}).get(LAUNCH_ANNOTATION, "") for _, pod in sorted(world.pods.items())]


def uids(world: World) -> dict[str, str]:
    return {name: pod["metadata"]["uid"] for name, pod in world.pods.items()}


def address(world: World, name: str) -> str:
    found: str = world.pods[name]["status"]["podIP"]
    return found


def recovered(world: World, lost: str) -> World:
    """The gang once the new pod of a place runs, and all have been called."""
    for _ in range(4):
        world = look(world.later(1).swept())
        if lost in world.pods and "podIP" not in world.pods[lost]["status"]:
            world = world.started(lost, "node-9")
    return world


LOSSES: dict[str, Strike] = {
    "its launcher is killed": lambda world: world.exited(LOST, 137).later(SETTINGS.settle_seconds),
    "it is gone": lambda world: world.pod_gone(LOST),
    "it is evicted": lambda world: world.evicted(LOST),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_pod_is_made_anew_and_the_others_stay(loss: str) -> None:
    before = at_work()
    world = recovered(LOSSES[loss](before), LOST)
    status, first = world.status, address(before, NAMES[0])
    assert (status.phase, status.attempt, status.launch, status.restarts) == ("Starting", 0, 1, 1)
    assert status.counted_restarts == (loss == "its launcher is killed")
    assert calls(world) == [f"1 anew {first}"] * 3
    changed = {name for name, uid in uids(world).items() if uid != uids(before)[name]}
    assert changed == {LOST}
    assert [each.rung for each in status.recoveries] == ["OnePod"]
    assert (status.replacement.pod, status.replacement.launch) == (1, 1)
    trains = look(world, report=make_report(9)).status
    assert (trains.phase, trains.attempt, trains.recoveries[-1].seconds is None) == ("Training", 0, False)


def test_an_evaluation_has_nothing_to_do_with_a_pod_that_was_made_anew_while_it_trained() -> None:
    world = at_work(evaluation={"claimName": "sets", "sets": ["lfw"]}).pod_gone(LOST)
    world = look(recovered(look(world), LOST), report=make_report(9))
    for name in NAMES:
        world = world.exited(name, 0)
    status = look(world).status
    assert (status.attempt, status.launch, status.replacement) == (1, 0, None)


def test_the_others_start_their_ranks_while_the_new_pod_is_on_its_way() -> None:
    world = look(at_work().pod_gone(LOST))
    assert calls(world) == [f"1 anew {address(world, NAMES[0])}"] * 3
    assert world.status.phase == "Restarting"


def test_a_new_pod_0_brings_the_address_with_it() -> None:
    before = at_work()
    world = look(before.pod_gone(NAMES[0]))
    assert calls(world) == ["1 anew"] * 3, "the old address is never called out again"
    world = recovered(world, NAMES[0])
    new = address(world, NAMES[0])
    assert new != address(before, NAMES[0])
    assert calls(world) == [f"1 anew {new}"] * 3


def test_a_pod_that_leaves_may_save_with_all_others_before_they_are_called() -> None:
    world = look(at_work().pod_deleted(LOST))
    assert (world.status.phase, world.status.launch, calls(world)) == ("Restarting", 1, [""] * 3)
    world = look(world.exited(LOST, 143))
    assert calls(world)[0] == f"1 anew {address(world, NAMES[0])}"
    assert recovered(world, LOST).status.phase == "Starting"


def test_a_pod_on_a_lost_node_saves_nothing_and_is_taken_away_by_force() -> None:
    world = look(replace(at_work().pod_deleted(LOST), lost_nodes=frozenset({"node-1"})))
    assert [bool(call) for call in calls(world)] == [True, False, True]
    world = look(world.later(200))
    assert LOST not in world.pods
    assert LOST in look(world).pods


def graces(world: World) -> list[int | None]:
    """Seconds that each pod that leaves has to end in."""
    return [pod["metadata"].get("deletionGracePeriodSeconds") for _, pod in sorted(world.pods.items())]


@pytest.mark.parametrize("is_leaving", [False, True], ids=["nobody has asked it to leave", "it is being deleted"])
def test_a_pod_whose_peers_wait_for_its_place_has_ten_seconds_to_leave(is_leaving: bool) -> None:
    """Its node is silent: nobody tells of its ranks, and the others end theirs."""
    world = at_work().pod_deleted(LOST) if is_leaving else unseen(at_work())
    world = look(replace(world, lost_nodes=frozenset({"node-1"})))
    assert [each.rung for each in world.status.recoveries] == ["OnePod"]
    assert (graces(world), [bool(call) for call in calls(world)]) == ([None, 10, None], [True, False, True])
    world = look(world.later(39))
    assert LOST in world.pods
    assert LOST not in look(world.later(1)).pods, "30 s after these"


def test_a_pod_that_saves_with_all_others_keeps_its_time_until_it_has_saved() -> None:
    world = look(at_work().pod_deleted(LOST))
    assert graces(world) == [None, 120, None]
    assert graces(look(world.exited(LOST, 143))) == [None, 10, None], "a sidecar may still be there"


def test_whoever_has_not_heard_the_call_hears_it_though_the_lost_pod_is_slow_to_leave() -> None:
    world = look(replace(unseen(at_work()), lost_nodes=frozenset({"node-1"})), 2)
    assert [bool(call) for call in calls(world)] == [True, False, False], "the operator has died in between"
    assert [bool(call) for call in calls(look(replace(world, lost_nodes=frozenset())))] == [True, False, True]


def assert_all_anew(world: World, reasons: tuple[str, ...]) -> None:
    status = world.status
    assert (status.attempt, status.launch, status.replacement) == (1, 0, None)
    assert tuple(each.rung for each in status.recoveries) == ("OnePod", "WholeGang")[2 - len(reasons) :]
    assert tuple(each.cause for each in status.recoveries) == reasons


def test_two_lost_pods_have_all_pods_made_anew() -> None:
    assert_all_anew(look(at_work().pod_gone(LOST).pod_gone(NAMES[2])), ("PodLost",))


@pytest.mark.parametrize(
    "strike",
    [
        pytest.param(lambda world: world.exited(NAMES[2], 1), id="a peer ends"),
        pytest.param(lambda world: world.exited(LOST, 1), id="the new pod ends"),
        pytest.param(lambda world: world.pod_gone(NAMES[2]), id="a peer is gone"),
    ],
)
@pytest.mark.parametrize("is_there", [False, True], ids=["before it runs", "while its ranks start"])
def test_whatever_befalls_the_gang_meanwhile_has_all_pods_made_anew_and_is_not_counted_again(
    strike: Strike, is_there: bool
) -> None:
    world = look(look(at_work().exited(LOST, 137).later(9)).swept())
    world = recovered(world, LOST) if is_there else world
    fallen = look(strike(world).later(9))
    assert (fallen.status.attempt, fallen.status.restarts, fallen.status.counted_restarts) == (1, 2, 1)
    assert fallen.status.replacement is None


def test_a_new_pod_without_room_has_all_pods_made_anew_in_the_end() -> None:
    world = look(look(at_work().pod_gone(LOST)).unschedulable(LOST))
    (ready,) = [item for item in world.status.conditions if item.type == "Ready"]
    assert (ready.status, ready.reason) == ("False", "Replacing")
    assert ready.message == "pod quick-worker-1: Unschedulable: 0/3 nodes are available"
    late = world.later(SETTINGS.replace_seconds)
    assert look(world.later(SETTINGS.replace_seconds - 1)).status.attempt == 0
    assert look(late, watched_since=late.now).status.attempt == 0, "an operator that was away gives it its time"
    assert_all_anew(look(late), ("PodLost", "NotReplaced"))
    assert look(late).status.failure.message == (
        "no pod was made anew within 300 s: pod quick-worker-1: Unschedulable: 0/3 nodes are available"
    )


def test_a_pod_is_not_waited_for_where_the_others_have_come_to_the_end_of_the_training() -> None:
    world = look(look(at_work().pod_deleted(LOST)).exited(NAMES[2], 0))
    assert_all_anew(world, ("PodDeleted", "NotReplaced"))


def test_launchers_that_do_not_follow_have_all_pods_made_anew_from_when_the_new_one_runs() -> None:
    world = recovered(look(at_work().pod_gone(LOST)).later(200), LOST)
    late = world.later(SETTINGS.launch_seconds + FETCH_SECONDS)
    two, all_ = (HeardWords(GangWord(attempt=0, serial=9, launch=1, pods=pods), late.now) for pods in (2, 3))
    assert look(world.later(SETTINGS.launch_seconds), words=two).status.attempt == 0, "it may fetch its states before"
    assert look(late, words=all_).status.attempt == 0
    assert_all_anew(look(late, words=two), ("PodLost", "NotLaunched"))


@pytest.mark.parametrize("before", [None, 0, 1])
def test_a_gang_that_cannot_be_heard_keeps_its_pods(before: int | None) -> None:
    """The operator is cut off from port 9399, from the start or since a word of a launch."""
    begun = at_work()
    said = None if before is None else HeardWords(GangWord(attempt=0, serial=1, launch=before, pods=1), begun.now)
    world = recovered(look(begun.evicted(LOST), words=said), LOST)
    for _ in range(3):
        world = look(world.later(SETTINGS.launch_seconds), words=said)
    assert (world.status.phase, world.status.attempt, world.status.restarts) == ("Starting", 0, 1)
    trains = look(world, words=said, report=make_report(9)).status
    assert (trains.phase, trains.attempt) == ("Training", 0)


@pytest.mark.parametrize(
    ("lost", "asked", "answered", "rung"),
    [
        pytest.param(LOST, 60, None, "WholeGang", id="nobody has ever heard it"),
        pytest.param(LOST, 999, 60, "WholeGang", id="nobody hears it any more"),
        pytest.param(LOST, 59, None, "OnePod", id="it is not asked for long"),
        pytest.param(LOST, 999, 59, "OnePod", id="it has answered of late"),
        pytest.param(NAMES[0], 999, None, "OnePod", id="the lost one is asked no more, and waited for by the others"),
    ],
)
@pytest.mark.parametrize("loss", [World.evicted, World.pod_deleted, World.pod_gone])
def test_a_gang_that_nobody_hears_does_not_wait_for_words(
    loss: Callable[[World, str], World], lost: str, asked: float, answered: float | None, rung: str
) -> None:
    begun = at_work()
    word = GangWord(attempt=0, serial=0, launch=0, pods=0)
    words = None if answered is None else HeardWords(word, begun.now, begun.later(-answered).now)
    status = look(loss(begun, lost), watched_since=begun.later(-asked).now, words=words).status
    assert (status.phase, [each.rung for each in status.recoveries]) == ("Restarting", [rung])
    assert (status.attempt, status.restarts, status.counted_restarts) == (int(rung == "WholeGang"), 1, 0)


def test_a_pod_that_is_lost_again_before_a_step_has_all_pods_made_anew() -> None:
    world = look(recovered(look(at_work().pod_gone(LOST)), LOST), report=make_report(0))
    assert world.status.phase == "Training"
    assert_all_anew(look(world.pod_gone(LOST)), ("PodLost", "PodLost"))


@pytest.mark.parametrize(("gang", "attempt"), [("none", 0), ("native", 0), ("coscheduling", 0), ("volcano", 1)])
def test_a_pod_is_made_anew_where_its_scheduler_lets_it_join_the_others(gang: Any, attempt: int) -> None:
    status = look(at_work(scheduling={"gang": gang}).pod_gone(LOST)).status
    assert status.attempt == attempt


def test_the_setting_of_no_seconds_leaves_only_the_other_rungs() -> None:
    world = at_work().pod_gone(LOST)
    plan = decide(world.observe(), SETTINGS.model_copy(update={"replace_seconds": 0.0}), world.now)
    assert plan.status.attempt == 1


def test_the_new_pod_keeps_away_from_a_node_that_is_to_blame() -> None:
    world = look(look(at_work().evicted(LOST)).swept())
    affinity = str(world.pods[LOST]["spec"]["affinity"])
    assert "node-1" in affinity


DEATHS = range(8)
"""More actions than any plan here has."""


@pytest.mark.parametrize("lost", [NAMES[0], LOST])
@pytest.mark.parametrize("at", range(4))
def test_an_operator_that_dies_after_any_write_leaves_the_same_to_do(lost: str, at: int) -> None:
    begun = at_work()
    for done in DEATHS:
        world = begun.exited(lost, 137).later(9)
        for number in range(4):
            world = look(world, done if number == at else None).later(1).swept()
            if lost in world.pods and "podIP" not in world.pods[lost]["status"]:
                world = world.started(lost, "node-9")
        world = look(recovered(world, lost), report=make_report(9))
        first = address(world, NAMES[0])
        assert (world.status.phase, world.status.attempt, world.status.restarts) == ("Training", 0, 1)
        assert calls(world) == [f"1 anew {first}"] * 3
        assert {name for name, uid in uids(world).items() if uid != uids(begun)[name]} == {lost}


def table_in(world: World) -> RankTableDocument:
    text = world.applied["ConfigMap", "rings-config-quick"]["data"]["hccl.json"]
    return RankTableDocument.model_validate_json(text)


def test_the_rank_table_is_taken_back_and_comes_again_with_the_new_pod_for_that_very_launch() -> None:
    before = at_work(workers={**ASCEND, "replicas": 3}, training={"precision": "fp32"})
    assert (table_in(before).status, table_in(before).launch) == ("completed", None)
    world = look(before.exited(LOST, 137).later(9))
    assert (table_in(world).status, calls(world)) == ("initializing", ["1 anew", "", "1 anew"])
    world = recovered(world, LOST)
    table = table_in(world)
    assert (table.status, table.attempt, table.launch) == ("completed", "0", "1")
    assert table.has_rank(2, address(world, LOST), 0, 1)
    assert not table_in(before).has_rank(2, address(world, LOST), 0, 1)


def test_launchers_have_their_time_from_when_the_table_is_there() -> None:
    done = Condition(type="Scheduled", status="True", reason="x", message="", last_transition_time=ago(60))
    known = {"launch": 1, "restarted_at": ago(60), "conditions": [done]}
    spec = {"workers": ASCEND, "training": {"precision": "fp32"}}
    plan = plan_in("Starting", {"pods": (make_worker(0), make_worker(1))}, known, **spec)
    assert (plan.status.phase, plan.status.attempt) == ("Starting", 2)


def test_a_user_whose_rule_has_bad_input_tried_again_gets_new_pods() -> None:
    rule = {"exitCodes": [2], "action": "Restart"}
    seen = {"pods": (make_worker(0), make_ended(1, code=2))}
    assert plan_in("Training", seen, runPolicy={"failureRules": [rule]}).status.attempt == 3


def scheduled(world: World) -> Condition:
    (found,) = [item for item in world.status.conditions if item.type == "Scheduled"]
    return found


def test_a_gang_whose_pod_was_not_replaced_waits_for_room_only_once_its_pods_have_left() -> None:
    world = look(at_work(runPolicy={"schedulingDeadlineSeconds": 120}).later(3600).pod_gone(LOST))
    world = look(look(world).unschedulable(LOST).later(SETTINGS.replace_seconds))
    assert (world.status.attempt, world.status.failure.reason) == (1, "NotReplaced")  # type: ignore[union-attr]
    assert (scheduled(world).status, scheduled(world).reason) == ("Unknown", "PodsLeaving")
    world = look(world.later(60).swept())
    gone = world.now
    assert (world.status.phase, scheduled(world).status, scheduled(world).last_transition_time) == (
        "Restarting",
        "False",
        gone,
    )
    for name in NAMES:
        world = world.unschedulable(name)
    assert look(world.later(119)).status.phase == "Queued"
    assert look(world.later(120)).status.failure.reason == "SchedulingDeadlineExceeded"  # type: ignore[union-attr]
