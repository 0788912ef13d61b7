"""A gang that has lost nodes goes on with fewer pods and grows back; the cluster is played in plain values."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from arcface_api.contract.pod_environment import ATTEMPT_LABEL
from arcface_api.contract.run_config import RunConfig
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.decision.decide import decide, nodes_in_question
from arcface_operator.decision.plan import Delete, EmitEvent, Plan
from arcface_operator.settings import Settings
from support.builders.jobs import make_job
from support.builders.views import LAST_REPORT, SETTINGS, make_report
from support.fakes import kueue
from support.fakes.cluster_world import World

GRACE, PAUSE = SETTINGS.shrink_seconds, SETTINGS.grow_seconds
WORKERS = {"replicas": 4, "minReplicas": 2}
ALL_ANEW = SETTINGS.model_copy(update={"replace_seconds": 0})
"""A lost pod has all pods made anew."""
DAY = 24 * 3600


def plan_for(world: World, report: Any = None, settings: Settings = ALL_ANEW, **seen: Any) -> Plan:
    return decide(replace(world.observe(report=report), **seen), settings, world.now)


def look(world: World, report: Any = None, settings: Settings = ALL_ANEW) -> World:
    return world.carried_out(plan_for(world, report, settings))


def settled(world: World, settings: Settings = ALL_ANEW) -> World:
    """What leaves has left, and the operator has done all that follows."""
    for _ in range(4):
        world = look(world.swept(), settings=settings)
    return world


def staying(world: World) -> list[str]:
    """Pods that nobody has asked to leave."""
    pods = world.pods.items()
    return sorted(name.removeprefix("quick-") for name, pod in pods if "deletionTimestamp" not in pod["metadata"])


def with_room_for(world: World, *names: str, prefix: str = "worker") -> World:
    """A scheduler has looked at all pods: these have nodes, and there is none for the others."""
    for name, pod in world.pods.items():
        if name.startswith(f"quick-{prefix}-") and "nodeName" not in pod["spec"]:
            has_room = name.removeprefix("quick-") in names
            world = world.started(name) if has_room else world.unschedulable(name)
    return world


def trains(world: World, step: int) -> World:
    """All pods have nodes, run, and rank 0 tells of a step."""
    for name, pod in world.pods.items():
        if name.startswith("quick-worker-") and "nodeName" not in pod["spec"]:
            world = world.started(name)
    world = look(look(look(world)), make_report(step))
    assert world.status.phase == "Training"
    return world


def training(**spec: Any) -> World:
    """A job of four pods at work."""
    fields = {"workers": WORKERS, **spec}
    world = look(World(job=make_job(uid="1", **fields)))
    if world.workloads:
        world = look(kueue.admitted(world, "quick"))
    return trains(world, 10)


def lost(world: World, *names: str) -> World:
    """Nodes go, and with them these pods; the gang has been asked for again."""
    for name in names:
        world = world.pod_gone(f"quick-{name}")
    world = settled(world)
    assert staying(world) == ["worker-0", "worker-1", "worker-2", "worker-3"]
    return world


def short_of_two(**spec: Any) -> World:
    """Room is there for worker-0 and worker-2 only, of a new attempt that has been asked for a moment ago."""
    return look(with_room_for(lost(training(**spec), "worker-1", "worker-3"), "worker-0", "worker-2"))


def small(**spec: Any) -> World:
    """The gang goes on with two pods."""
    return trains(settled(look(short_of_two(**spec).later(GRACE))), 11)


def times_to_end(plan: Plan) -> dict[str, int | None]:
    """Seconds for pods that are deleted, None for as many as they have."""
    found = [action for action in plan.actions if isinstance(action, Delete)]
    return {action.name.removeprefix("quick-"): action.grace_seconds for action in found}


def condition(world: World) -> tuple[str, str]:
    (found,) = [item for item in world.status.conditions if item.type == "FullSize"]
    return found.status, found.message


def config(world: World) -> RunConfig:
    return RunConfig.from_ours(world.applied["ConfigMap", "quick-config"]["data"]["run.json"], "test")


def sizes(world: World) -> tuple[int, int | None, str | None]:
    """Attempt, pods of an elastic gang, and what kubectl shows."""
    status = world.status
    return status.attempt, None if status.elastic is None else status.elastic.pods, status.workers.summary


def test_a_gang_without_room_for_all_waits_and_then_goes_on_with_the_pods_that_have_room() -> None:
    world = short_of_two()
    early = look(world.later(GRACE - 1))
    assert (early.status.phase, sizes(early)) == ("Queued", (1, None, "2/4"))
    assert plan_for(world.later(GRACE - 30)).look_again_seconds == 30
    plan = plan_for(world.later(GRACE))
    (event,) = [action for action in plan.actions if isinstance(action, EmitEvent)]
    assert (event.type, event.reason) == ("Normal", "Resized")
    assert event.message == "2 of 4 pods since 2026-11-25T12:02:00Z; waiting for room for 2 more"
    world = settled(look(world.later(GRACE)))
    assert staying(world) == ["worker-0", "worker-1"]
    world = trains(world, 11)
    assert sizes(world) == (2, 2, "2/4")
    assert condition(world) == ("False", event.message)


def test_room_for_one_lost_pod_is_waited_for_as_long_as_for_all_and_not_twice() -> None:
    world = settled(training().pod_gone("quick-worker-3"), SETTINGS)
    assert (world.status.attempt, staying(world)) == (0, ["worker-0", "worker-1", "worker-2", "worker-3"])
    world = look(world.unschedulable("quick-worker-3"), settings=SETTINGS)
    early = look(world.later(GRACE - 1), settings=SETTINGS)
    assert (early.status.phase, sizes(early)) == ("Restarting", (0, None, "3/4"))
    assert plan_for(world.later(GRACE - 1), settings=SETTINGS).look_again_seconds == 1
    world = settled(look(world.later(GRACE), settings=SETTINGS), SETTINGS)
    assert (staying(world), sizes(world)) == (["worker-0", "worker-1", "worker-2"], (1, 3, "0/4"))
    assert [(each.rung, each.cause) for each in world.status.recoveries] == [
        ("OnePod", "PodLost"),
        ("Elastic", "NoRoom"),
    ]


def test_a_change_of_size_is_no_restart_and_tells_of_itself_among_the_recoveries() -> None:
    before, after = short_of_two().status, small().status
    assert (after.restarts, after.counted_restarts, after.vain_attempts) == (before.restarts, 0, 0)
    assert [(each.rung, each.cause) for each in after.recoveries] == [("WholeGang", "PodLost"), ("Elastic", "NoRoom")]


def test_the_small_gang_is_told_of_its_ranks_and_of_the_same_total_batch() -> None:
    whole, few = config(training()), config(small())
    assert (whole.ranks.world_size, few.ranks.world_size) == (4, 2)
    assert whole.ranks.total_batch_size(128) == few.ranks.total_batch_size(128) == 512
    assert (few.learning_rate, few.recipe, few.spec_hash) == (whole.learning_rate, whole.recipe, whole.spec_hash)
    pod = small().pods["quick-worker-1"]["spec"]["containers"][0]
    variables = {item["name"]: item.get("value") for item in pod["env"]}
    assert (variables["MS_WORKER_NUM"], variables["MS_NODE_ID"]) == ("2", "1")


@pytest.mark.parametrize(
    ("spec", "room"),
    [
        pytest.param({"workers": {"replicas": 4}}, ("worker-0", "worker-2"), id="not elastic"),
        pytest.param({"workers": {"replicas": 4, "minReplicas": 4}}, ("worker-0", "worker-2"), id="all are needed"),
        pytest.param({}, ("worker-1",), id="fewer than the least"),
        pytest.param({}, (), id="no room at all"),
    ],
)
def test_a_gang_that_may_not_be_so_small_waits(spec: dict[str, Any], room: tuple[str, ...]) -> None:
    world = look(with_room_for(lost(training(**spec), "worker-3"), *room))
    for _ in range(20):
        world = settled(world.later(SETTINGS.partial_gang_seconds))
        world = look(with_room_for(world, *room))
    assert (world.status.elastic, world.status.phase, world.status.restarts) == (None, "Queued", 1)
    assert plan_for(world.later(GRACE)).look_again_seconds != 0


def test_a_gang_that_has_never_trained_waits_for_room_for_all() -> None:
    world = look(with_room_for(look(World(job=make_job(workers=WORKERS, uid="1"))), "worker-0", "worker-1", "worker-2"))
    world = look(world.later(2 * GRACE))
    assert (world.status.phase, world.status.attempt, world.status.elastic) == ("Queued", 0, None)


def test_pods_that_no_scheduler_has_looked_at_may_yet_get_room() -> None:
    world = lost(training(), "worker-3").started("quick-worker-0").started("quick-worker-1")
    world = world.unschedulable("quick-worker-2")
    late = look(look(world).later(2 * GRACE))
    assert (late.status.phase, late.status.attempt) == ("Queued", 1)
    assert look(late.unschedulable("quick-worker-3")).status.elastic.pods == 2


def test_a_small_gang_that_loses_more_grows_smaller_down_to_the_least() -> None:
    world = trains(
        settled(
            look(look(with_room_for(lost(training(), "worker-3"), "worker-0", "worker-1", "worker-2")).later(GRACE))
        ),
        11,
    )
    assert sizes(world) == (2, 3, "3/4")
    world = settled(world.pod_gone("quick-worker-2"))
    assert sizes(world) == (3, 3, "0/4")
    world = look(with_room_for(world, "worker-1", "worker-2").later(GRACE))
    assert sizes(world) == (4, 2, "0/4")


def test_room_for_more_is_looked_for_by_spare_pods_after_a_while() -> None:
    world = small()
    early = look(world.later(PAUSE - 1), make_report(12))
    assert staying(early) == ["worker-0", "worker-1"]
    world = look(world.later(PAUSE), make_report(12))
    assert staying(world) == ["spare-2", "spare-3", "worker-0", "worker-1"]
    world = with_room_for(world, prefix="spare")
    for hour in range(24):
        world = look(world.later(3600), make_report(13 + hour))
    assert (world.status.phase, sizes(world)) == ("Training", (2, 2, "2/4"))
    assert staying(world) == ["spare-2", "spare-3", "worker-0", "worker-1"]


def spares_out() -> World:
    return look(small().later(PAUSE), make_report(12))


def test_when_all_nodes_are_back_the_gang_is_whole_again() -> None:
    world = with_room_for(spares_out(), "spare-2", "spare-3", prefix="spare")
    plan = plan_for(world, make_report(13))
    assert times_to_end(plan) == {"worker-0": None, "worker-1": None}, "they have all the time to save"
    world = look(world, make_report(13))
    assert (world.status.phase, world.status.attempt) == ("Queued", 3)
    assert staying(world) == ["spare-2", "spare-3"], "they keep the room until the others have saved and left"
    (event,) = [action for action in plan.actions if isinstance(action, EmitEvent)]
    assert (event.reason, event.message) == ("Resized", "waiting for room for 4 of 4 pods")
    world = look(world.swept())
    assert staying(world) == []
    world = settled(world)
    assert staying(world) == ["worker-0", "worker-1", "worker-2", "worker-3"]
    assert condition(world)[0] == "Unknown"
    world = trains(world, 14)
    assert sizes(world) == (3, 4, "4/4")
    assert condition(world) == ("True", "4 of 4 pods")
    assert config(world).ranks.world_size == 4
    assert (world.status.restarts, world.status.counted_restarts) == (1, 0)
    later = look(world.later(DAY), make_report(15))
    assert staying(later) == ["worker-0", "worker-1", "worker-2", "worker-3"]


def test_nodes_that_come_back_one_after_the_other_are_waited_for_as_long_as_no_device_is_idle_for_long() -> None:
    world = spares_out().started("quick-spare-3")
    unseen = look(world.later(300), make_report(13))
    assert unseen.status.phase == "Training", "it may have room for the other one, too"
    world = world.unschedulable("quick-spare-2")
    assert look(world.later(29), make_report(13)).status.phase == "Training"
    assert look(world.later(29).started("quick-spare-2"), make_report(13)).status.elastic.pods == 4
    world = look(world.later(30), make_report(13))
    assert (world.status.phase, world.status.elastic.pods) == ("Queued", 3)
    world = trains(settled(world), 14)
    assert condition(world)[1].startswith("3 of 4 pods since ")
    assert staying(look(world.later(PAUSE - 1), make_report(15))) == ["worker-0", "worker-1", "worker-2"]
    assert "spare-3" in staying(look(world.later(PAUSE), make_report(15)))


def with_spare_on_a_silent_node() -> World:
    """Two spare pods have nodes, and that of one of them does not answer any more."""
    world = with_room_for(spares_out(), "spare-2", "spare-3", prefix="spare")
    assert "node-2" in nodes_in_question(world.observe(), SETTINGS, world.now)
    return replace(world, lost_nodes=frozenset({"node-2"}))


def test_a_spare_pod_on_a_silent_node_is_no_room_and_another_is_made_once_it_is_removed_by_force() -> None:
    world = look(with_spare_on_a_silent_node(), make_report(13))
    assert (world.status.phase, staying(world)) == ("Training", ["spare-3", "worker-0", "worker-1"])
    alone = world.pod_gone("quick-spare-3")
    assert look(alone.later(149), make_report(13)).pods["quick-spare-2"] == world.pods["quick-spare-2"]
    world = look(look(alone.later(150), make_report(13)), make_report(13))
    assert "spare-2" in staying(world)
    assert "nodeName" not in world.pods["quick-spare-2"]["spec"]


def test_a_rank_pod_without_its_label_is_no_spare_one() -> None:
    """It has a name that a rank pod needs, also where its node is silent."""
    world = with_room_for(lost(training(), "worker-3"), "worker-0", "worker-1", "worker-2", "worker-3")
    labels = {**world.pods["quick-worker-3"]["metadata"]["labels"], ATTEMPT_LABEL: ""}
    world = world.with_metadata("quick-worker-3", labels=labels)
    world = look(replace(world, lost_nodes=frozenset({"node-3"})))
    assert staying(world) == ["worker-0", "worker-1", "worker-2"]
    assert "worker-3" in staying(look(look(world.later(150))))


def test_a_gang_that_grows_does_not_wait_for_a_spare_pod_on_a_silent_node() -> None:
    world = look(with_spare_on_a_silent_node().later(30), make_report(13))
    assert (world.status.phase, world.status.elastic.pods) == ("Queued", 3)
    world = settled(world)
    assert staying(world) == ["worker-0", "worker-1", "worker-2"]
    assert "quick-spare-2" in world.pods
    assert "quick-spare-2" not in look(world.later(150)).pods


def test_a_gang_that_grows_and_finds_the_room_taken_becomes_small_again() -> None:
    world = settled(look(with_room_for(spares_out(), "spare-2", "spare-3", prefix="spare"), make_report(13)))
    world = look(with_room_for(world, "worker-0", "worker-1", "worker-2").later(GRACE))
    assert sizes(world) == (4, 3, "0/4")


def test_a_fault_of_a_small_gang_restarts_it_as_small_and_takes_the_spare_pods_along() -> None:
    world = look(with_room_for(spares_out(), "spare-2", prefix="spare").exited("quick-worker-1", 1).later(10))
    assert plan_for(world.pod_gone("quick-worker-1")).actions == ()
    assert times_to_end(plan_for(world.swept())) == {"spare-2": None, "spare-3": None}
    world = settled(settled(world))
    assert staying(world) == ["worker-0", "worker-1"]
    assert (sizes(world)[:2], world.status.counted_restarts) == ((3, 2), 1)
    world = look(trains(world, 14).later(1), make_report(15))
    assert staying(world) == ["spare-2", "spare-3", "worker-0", "worker-1"]


def test_a_spare_pod_that_has_ended_is_made_anew_after_a_while() -> None:
    """Its time is over, or a kubelet would not have it: it shows nothing, and is not asked for again and again."""
    world = spares_out().started("quick-spare-2").evicted("quick-spare-2").unschedulable("quick-spare-3")
    assert look(world, make_report(13)).status.phase == "Training"
    early = look(world.later(SETTINGS.partial_gang_seconds - 1), make_report(13))
    assert early.pods["quick-spare-2"] == world.pods["quick-spare-2"]
    late = look(look(world.later(SETTINGS.partial_gang_seconds), make_report(13)).swept(), make_report(13))
    assert "nodeName" not in late.pods["quick-spare-2"]["spec"]


def test_a_refusal_of_spare_pods_is_told_and_troubles_nothing_else() -> None:
    words = 'Pod quick-spare-2: 403: exceeded quota: "pods"'
    failure = ActionFailure(condition="FullSize", message=words, is_lasting=True)
    world = small().later(PAUSE)
    status = plan_for(world, make_report(12), failures=(failure,)).status
    found = {item.type: item for item in status.conditions}
    assert (found["FullSize"].status, found["FullSize"].message) == ("False", words)
    assert (status.phase, found["Ready"].status, found["Training"].status) == ("Training", "True", "True")


def test_a_suspended_job_lets_its_spare_pods_go_and_asks_for_all_pods_when_it_is_resumed() -> None:
    world = settled(spares_out().with_spec(suspend=True))
    assert (world.status.phase, dict(world.pods)) == ("Suspended", {})
    world = settled(world.later(DAY).with_spec(suspend=False))
    assert staying(world) == ["worker-0", "worker-1", "worker-2", "worker-3"]
    assert condition(world) == ("Unknown", "waiting for room for 4 of 4 pods")
    world = look(with_room_for(world, "worker-1", "worker-2"))
    assert sizes(look(world.later(GRACE - 1)))[1] == sizes(world)[1]
    assert sizes(look(world.later(GRACE))) == (4, 2, "0/4")


@pytest.mark.parametrize("policy", ["None", "Running"])
@pytest.mark.parametrize("evaluation", [None, {"claimName": "sets", "sets": ["lfw"]}], ids=["", "evaluated"])
def test_a_training_that_ends_small_says_so_and_waits_for_nothing(policy: str, evaluation: Any) -> None:
    world = look(small(evaluation=evaluation, runPolicy={"cleanPodPolicy": policy}).later(PAUSE), make_report(12))
    assert "spare-2" in staying(world)
    for index in (0, 1):
        world = world.exited(f"quick-worker-{index}", 0, LAST_REPORT)
    world = settled(world)
    assert world.status.phase == ("Succeeded" if evaluation is None else "Queued")
    assert condition(world) == ("False", "2 of 4 pods since 2026-11-25T12:02:00Z")
    assert "spare-2" not in staying(world)


@pytest.mark.parametrize("drops", [True, False], ids=["drops the size", "keeps the size"])
def test_what_an_operator_without_elastic_gangs_has_made_of_one_is_taken_as_it_is(drops: bool) -> None:
    """It knows the spec's number alone: it misses pods and has all of them made, as another attempt."""
    world = small()
    changes = {"attempt": 3, **({"elastic": None} if drops else {})}
    status = world.status.model_copy(update={**changes, "phase": "Restarting"})
    world = settled(replace(world, job=world.job.model_copy(update={"status": status})))
    assert staying(world) == ["worker-0", "worker-1", "worker-2", "worker-3"]
    assert config(world).ranks.world_size == 4
    assert trains(world, 12).status.workers.summary == "4/4"


def test_an_operator_may_die_between_any_two_writes_of_a_change_of_size() -> None:
    for start in (short_of_two().later(GRACE), with_room_for(spares_out(), "spare-2", "spare-3", prefix="spare")):
        report = make_report(13) if start.status.phase == "Training" else None
        plan = plan_for(start, report)
        for done in range(len(plan.actions) + 1):
            world = settled(start.carried_out(plan, plan.actions[:done]))
            expected = start.status.attempt + 1, plan.status.elastic.pods
            assert (world.status.attempt, world.status.elastic.pods) == expected
            assert len(staying(world)) == expected[1]


def test_the_rank_table_has_the_ranks_that_are_there() -> None:
    workers = {**WORKERS, "accelerator": "ascend", "devicesPerWorker": 2}
    world = look(small(workers=workers, training={"precision": "fp32"}), make_report(12))
    table = json.loads(world.applied["ConfigMap", "rings-config-quick"]["data"]["hccl.json"])
    ranks = [card["rank_id"] for server in table["server_list"] for card in server["device"]]
    assert (table["status"], ranks) == ("completed", ["0", "1", "2", "3"])
    assert (world.status.rank_table.ready, world.status.rank_table.total) == (4, 4)
    variables = {
        item["name"]: item.get("value") for item in world.pods["quick-worker-1"]["spec"]["containers"][0]["env"]
    }
    assert (variables["RANK_SIZE"], variables["MS_WORKER_NUM"]) == ("4", "4")


def test_one_pod_that_is_left_meets_nobody() -> None:
    workers = {"replicas": 2, "minReplicas": 1, "accelerator": "ascend"}
    world = training(workers=workers, training={"precision": "fp32"}).pod_gone("quick-worker-1")
    world = look(with_room_for(settled(world), "worker-1").later(GRACE))
    world = trains(settled(world), 11)
    variables = {item["name"] for item in world.pods["quick-worker-0"]["spec"]["containers"][0]["env"]}
    assert (sizes(world), "RANK_TABLE_FILE" in variables) == ((2, 1, "1/2"), False)


def test_in_kueues_queue_the_quota_of_all_pods_is_kept_and_spare_pods_go_where_its_flavour_wants_them() -> None:
    world = spares_out_in_kueue()
    assert world.pods["quick-spare-2"]["spec"]["nodeSelector"] == {"pool": "npu"}
    (workload,) = world.workloads.values()
    assert workload["spec"]["podSets"][0]["count"] == 4
    unseen = plan_for(small_in_kueue().later(PAUSE), make_report(12), queue=replace(world.queue(), placement=None))
    assert not [action for action in unseen.actions if "spare" in repr(action)]


def small_in_kueue() -> World:
    return small(scheduling={"gang": "kueue", "queue": "npu"})


def spares_out_in_kueue() -> World:
    return look(small_in_kueue().later(PAUSE), make_report(12))


def test_a_clock_that_was_set_back_does_not_keep_a_gang_small() -> None:
    world = small()
    ahead = world.status.elastic.model_copy(update={"changed_at": world.now + timedelta(seconds=10 * DAY)})
    world = world.written(world.status.model_copy(update={"elastic": ahead}))
    world = look(world, make_report(12))
    assert "spare-2" in staying(look(world.later(PAUSE), make_report(13)))
