"""Kueue's part in a job's life: no pods without quota, quota given back, and nothing of it counted."""

from dataclasses import replace
from typing import Any

import pytest

from arcface_api.contract.pod_environment import COMPONENT_LABEL
from arcface_operator.decision.decide import decide
from arcface_operator.decision.plan import Create
from arcface_operator.manifests.workload import POD_GROUP_SIZE, QueueView
from support.builders.jobs import make_job
from support.builders.views import GRACE, NOW, SETTINGS, evaluator_report, make_prerequisites, make_report
from support.fakes import kueue
from support.fakes.cluster_world import World, unready

GRACE_SECONDS = GRACE.total_seconds()
PAUSE = 600
"""Longer than any before a restart."""
EVALUATION = {"claimName": "sets", "sets": ["lfw"]}


SPEC: dict[str, Any] = {
    "workers": {"replicas": 2},
    "scheduling": {"gang": "kueue", "queue": "npu"},
    "runPolicy": {"backoffLimit": 0},
}


def world_of(uid: str = "1", **spec: Any) -> World:
    return World(job=make_job(uid=uid, **{**SPEC, **spec}))


def look(world: World, report: Any = None, times: int = 1) -> World:
    for _ in range(times):
        world = world.carried_out(decide(world.observe(report=report), SETTINGS, world.now))
    return world


def queued(**spec: Any) -> World:
    """A job whose Workload Kueue has seen and has no quota for."""
    return look(kueue.looked_at(look(world_of(**spec)), "quick"))


def training(**spec: Any) -> World:
    """A job that trains in the quota of its Workload."""
    world = look(kueue.admitted(queued(**spec), "quick"))
    for name in world.pods:
        world = world.started(name)
    return look(look(world), make_report(1))


def stopped(world: World) -> World:
    """All pods that were told to stop have saved and left."""
    for name, pod in world.pods.items():
        if "deletionTimestamp" in pod["metadata"]:
            world = world.exited(name, 143)
    return world.swept()


def counts(world: World) -> tuple[Any, int, int, int]:
    status = world.status
    return status.phase, status.attempt, status.restarts, status.counted_restarts


def ready(world: World, kind: str = "Ready") -> tuple[str, str, str]:
    (found,) = [item for item in world.status.conditions if item.type == kind]
    return found.status, found.reason, found.message


def test_a_job_that_waits_holds_no_pods_and_tells_what_kueue_says() -> None:
    world = queued()
    assert world.pods == {}
    for kind in ("Ready", "Scheduled"):
        assert ready(world, kind) == ("False", "Queued", f"waits for quota in Kueue's queue npu: {kueue.NO_QUOTA}")
    (workload,) = world.workloads.values()
    assert workload["spec"]["queueName"] == "npu"
    assert [(item["name"], item["count"]) for item in workload["spec"]["podSets"]] == [("main", 2)]
    assert workload["metadata"]["ownerReferences"][0]["uid"] == "1"
    assert "finalizers" not in workload["metadata"]


def test_pods_come_with_the_admission_where_the_flavour_wants_them() -> None:
    world = look(kueue.admitted(queued(), "quick"))
    assert sorted(world.pods) == ["quick-worker-0", "quick-worker-1"]
    for pod in world.pods.values():
        assert pod["spec"]["nodeSelector"] == {"pool": "npu"}
        assert not [key for key in pod["metadata"]["labels"] if "kueue" in key]
    assert not look(world).pods.keys() ^ world.pods.keys()


def test_what_is_missing_keeps_a_job_from_queueing() -> None:
    world = world_of()
    seen = replace(look(world).observe(), prerequisites=make_prerequisites(faces=None))
    plan = decide(seen, SETTINGS, NOW)
    assert not [action for action in plan.actions if hasattr(action, "manifest")]


def test_a_gang_that_is_ready_says_so_once_lest_kueue_evict_it() -> None:
    world = look(training(), make_report(2))
    before = kueue.of(world, "quick")
    assert kueue.conditions_of(world, "quick")["PodsReady"]["status"] == "True"
    assert kueue.of(look(world, make_report(3)), "quick") == before


def test_a_sidecar_that_is_not_ready_makes_no_gang_unready() -> None:
    """Kueue evicts a gang that is not ready for longer than `waitForPodsReady` allows."""
    world = look(unready(training(), "quick-worker-1"), make_report(2))
    assert pods_ready(world) == ("True", "Started")


def crashed(world: World) -> World:
    """All ranks have failed and their pods are gone; those of the next attempt, made at once or later, lack nodes."""
    for name in world.pods:
        world = world.exited(name, 1)
    return look(look(world).swept())


def at_work(world: World) -> World:
    """All pods have started, and the operator has looked."""
    for name in world.pods:
        world = world.started(name)
    return look(world, times=2)


def pods_ready(world: World) -> tuple[str, str]:
    found = kueue.conditions_of(world, "quick")["PodsReady"]
    return found["status"], found["reason"]


def test_kueue_hears_of_pods_that_are_lost_and_of_their_recovery() -> None:
    world = training(runPolicy={"backoffLimit": 3})
    assert pods_ready(world) == ("True", "Started")
    for _ in range(2):
        world = crashed(world)
        assert pods_ready(world) == ("False", "WaitForRecovery")
        assert kueue.of(look(world.later(9)), "quick") == kueue.of(world, "quick"), "its time is that of the loss"
        world = at_work(look(world.later(PAUSE)))
        assert pods_ready(world) == ("True", "Recovered")


@pytest.mark.parametrize("seconds", [60.0, 24 * 3600.0])
def test_a_gang_without_room_for_its_next_attempt_holds_its_quota_no_longer_than_kueue_waits(seconds: float) -> None:
    world = crashed(training(runPolicy={"backoffLimit": 3}).later(2 * seconds))
    assert not evicts(world.later(seconds - 1), seconds)
    world = look(kueue.timed_out(look(world.later(seconds)), "quick", seconds))
    world = look(stopped(world), times=2)
    assert (world.status.phase, kueue.holds_quota(world, "quick"), world.pods) == ("Queued", False, {})
    world = look(kueue.admitted(world.later(seconds), "quick"))
    assert not evicts(world.later(seconds - 1), seconds), "the new attempt has the whole time"
    assert pods_ready(at_work(world)) == ("True", "Started")


def evicts(world: World, seconds: float) -> bool:
    evicted = kueue.conditions_of(kueue.timed_out(world, "quick", seconds), "quick").get("Evicted", {})
    return evicted.get("status") == "True"


def test_nobody_waits_for_pods_that_leave_for_good() -> None:
    for world in (training().with_spec(suspend=True), training().exited("quick-worker-0", 3)):
        leaving = look(look(world).pod_gone("quick-worker-1"))
        assert pods_ready(leaving) == ("True", "Started")


def test_a_preempted_gang_saves_gives_back_and_comes_back_uncounted() -> None:
    world = look(kueue.evicted(training(), "quick"))
    assert counts(world) == ("Queued", 1, 0, 0)
    assert ready(world)[1] == "QuotaWithdrawn"
    assert all("deletionTimestamp" in pod["metadata"] for pod in world.pods.values())
    assert kueue.holds_quota(look(world.later(GRACE_SECONDS - 1)), "quick"), "pods still have devices"
    world = look(stopped(world))
    assert not kueue.holds_quota(world, "quick")
    conditions = kueue.conditions_of(world, "quick")
    assert {kind: item["status"] for kind, item in conditions.items()} == {
        "QuotaReserved": "False",
        "Admitted": "False",
        "Evicted": "True",
        "Requeued": "True",
        "PodsReady": "False",
    }
    world = look(look(kueue.looked_at(world, "quick")), times=3)
    assert (world.pods, counts(world)) == ({}, ("Queued", 1, 0, 0))
    world = look(kueue.admitted(world, "quick"))
    assert {pod["metadata"]["labels"]["arcface.io/attempt"] for pod in world.pods.values()} == {"1"}


@pytest.mark.parametrize("reason", ["PodsReadyTimeout", "AdmissionCheck", "ClusterQueueStopped", "Deactivated"])
def test_after_other_evictions_kueue_says_when_a_gang_is_queued_again(reason: str) -> None:
    world = look(stopped(look(kueue.evicted(training(), "quick", reason))))
    requeued = kueue.conditions_of(world, "quick")["Requeued"]
    assert (requeued["status"], requeued["reason"]) == ("False", reason)


def test_an_eviction_is_not_delayed_by_the_pause_after_a_vain_attempt() -> None:
    world = look(kueue.admitted(queued(), "quick"))
    world = look(stopped(look(kueue.evicted(world, "quick"))))
    assert world.status.vain_attempts == 1
    assert not kueue.holds_quota(world, "quick")


def test_an_admission_that_changes_while_it_is_given_back_is_looked_at_anew() -> None:
    world = stopped(look(kueue.evicted(training(), "quick")))
    plan = decide(world.observe(), SETTINGS, world.now)
    raced = kueue.changed(world, "quick", Preempted=("True", "InClusterQueue", "")).carried_out(plan)
    assert kueue.holds_quota(raced, "quick")
    assert not kueue.holds_quota(look(raced), "quick")


def test_a_crash_restarts_within_the_admission() -> None:
    world = training(runPolicy={"backoffLimit": 3})
    world = look(world.exited("quick-worker-0", 1).exited("quick-worker-1", 1))
    assert counts(world) == ("Restarting", 1, 1, 1)
    world = look(world.swept())
    assert kueue.holds_quota(world, "quick")
    assert {pod["metadata"]["labels"]["arcface.io/attempt"] for pod in world.pods.values()} == {"1"}


def test_a_deactivated_workload_is_told_of_with_the_remedy() -> None:
    world = look(look(stopped(look(kueue.deactivated(training(), "quick")))))
    assert (world.pods, world.status.phase) == ({}, "Queued")
    assert "set its spec.active to true" in ready(world)[2]


def test_a_workload_that_somebody_deletes_takes_the_pods_and_is_queued_again() -> None:
    world = look(replace(training(), workloads={}))
    assert (counts(world), ready(world)[1]) == (("Queued", 1, 0, 0), "QuotaWithdrawn")
    world = look(stopped(world), times=2)
    assert (kueue.gangs(world), world.pods) == (["quick"], {})


def test_a_workload_that_somebody_deletes_while_it_waits_is_followed_by_one_of_another_name() -> None:
    first = queued()
    world = look(kueue.deleted(first.later(PAUSE), "quick"))
    assert (counts(world), world.workloads, ready(world)[1]) == (("Queued", 1, 0, 0), {}, "BackOff")
    world = look(world.later(PAUSE))
    assert kueue.gangs(world) == ["quick"]
    assert not world.workloads.keys() & first.workloads.keys()
    again = look(look(world), times=2)
    assert (again.workloads.keys(), counts(again)) == (world.workloads.keys(), ("Queued", 1, 0, 0))


def test_pods_that_an_earlier_release_queued_themselves_are_left_alone() -> None:
    world = replace(training(), workloads={})
    for name, pod in world.pods.items():
        world = world.with_metadata(name, annotations={**pod["metadata"]["annotations"], POD_GROUP_SIZE: "2"})
    assert counts(look(world, make_report(9))) == ("Training", 0, 0, 0)


def test_a_success_that_an_eviction_meets_is_a_success() -> None:
    world = kueue.evicted(training(), "quick")
    world = look(world.exited("quick-worker-0", 0).exited("quick-worker-1", 0))
    assert world.status.phase == "Succeeded"
    assert kueue.conditions_of(look(world), "quick")["Finished"]["reason"] == "Succeeded"


def test_a_job_in_suspension_gives_its_place_up_once_its_pods_have_left() -> None:
    world = look(training().with_spec(suspend=True))
    assert (world.status.phase, kueue.holds_quota(world, "quick")) == ("Training", True)
    world = look(stopped(world), times=2)
    assert (world.status.phase, world.workloads) == ("Suspended", {})
    world = look(world.with_spec(suspend=False), times=2)
    assert (world.status.phase, kueue.gangs(world), world.pods) == ("Queued", ["quick"], {})


def test_a_failed_job_says_so_to_kueue_once_its_pods_have_left() -> None:
    world = look(training().exited("quick-worker-0", 3))
    assert world.status.phase == "Failed"
    world = look(world)
    assert kueue.holds_quota(world, "quick"), "rank 1 still has its devices"
    world = look(stopped(world))
    finished = kueue.conditions_of(world, "quick")["Finished"]
    assert (finished["reason"], finished["message"]) == ("Failed", "the training has failed")


def evaluating() -> World:
    """A job whose training is done and whose evaluator runs."""
    world = training(evaluation=EVALUATION)
    world = look(world.exited("quick-worker-0", 0).exited("quick-worker-1", 0), times=3)
    return look(kueue.admitted(world, "quick-evaluate"))


def test_each_stage_has_quota_of_its_own_and_for_as_long_as_it_needs_it() -> None:
    world = training(evaluation=EVALUATION)
    world = look(world.exited("quick-worker-0", 0).exited("quick-worker-1", 0), times=3)
    assert (kueue.holds_quota(world, "quick"), kueue.gangs(world)) == (False, ["quick", "quick-evaluate"])
    assert not [pod for pod in world.pods.values() if pod["metadata"]["labels"][COMPONENT_LABEL] == "evaluator"]
    assert kueue.of(world, "quick-evaluate")["spec"]["podSets"][0]["count"] == 1
    world = look(kueue.admitted(world, "quick-evaluate"))
    assert "quick-evaluate" in world.pods
    world = look(world.evaluated(0, evaluator_report()), times=3)
    assert world.status.phase == "Succeeded"
    assert kueue.conditions_of(world, "quick-evaluate")["Finished"]["message"] == "the evaluation is done"


def test_another_evaluation_queues_anew_and_the_training_never_does() -> None:
    world = look(evaluating().evaluated(0, evaluator_report()), times=3)
    uid = kueue.of(world, "quick-evaluate")["metadata"]["uid"]
    annotations = {"arcface.io/evaluate-again": "1"}
    metadata = world.job.metadata.model_copy(update={"annotations": annotations})
    world = replace(world, job=world.job.model_copy(update={"metadata": metadata}))
    world = look(stopped(look(world)), times=4)
    assert kueue.of(world, "quick-evaluate")["metadata"]["uid"] != uid
    assert (world.status.phase, kueue.holds_quota(world, "quick")) == ("Queued", False)


def test_while_workloads_cannot_be_seen_nothing_is_begun_and_nothing_ended() -> None:
    blind = replace(look(world_of()).observe(), queue=None)
    plan = decide(blind, SETTINGS, NOW)
    assert (plan.status.phase, plan.actions) == ("Queued", ())
    world = training()
    plan = decide(replace(world.observe(report=make_report(9)), queue=None), SETTINGS, world.now)
    assert (plan.status.phase, plan.actions) == ("Training", ())


def half_made() -> World:
    """A gang of whose pods the operator has made one before it died."""
    world = kueue.admitted(queued(), "quick")
    plan = decide(world.observe(), SETTINGS, world.now)
    pods = [action for action in plan.actions if isinstance(action, Create)]
    return world.carried_out(plan, [action for action in plan.actions if action not in pods[1:]])


def one_lost() -> World:
    """A gang at work that has lost one of its pods."""
    return training(runPolicy={"backoffLimit": 3}).pod_gone("quick-worker-1")


@pytest.mark.parametrize("begun", [half_made, one_lost])
@pytest.mark.parametrize("problem", [None, "there is no ResourceFlavor 'npu'"])
def test_the_rest_of_a_gang_is_not_made_while_its_place_is_unknown(begun: Any, problem: str | None) -> None:
    world = begun()
    for _ in range(3):
        unseen = None if problem is None else replace(world.queue(), placement=None, problem=problem)
        plan = decide(replace(world.observe(), queue=unseen), SETTINGS, world.now)
        world = world.carried_out(plan)
    assert (set(world.pods), ready(world)[1]) == ({"quick-worker-0"}, "Queued")
    assert ready(world)[2] == (problem or "Kueue's Workloads have not been seen yet; may the operator list them?")
    world = look(world)
    assert [pod["spec"]["nodeSelector"] for pod in world.pods.values()] == [{"pool": "npu"}] * 2


def test_what_kueue_needs_and_lacks_is_named() -> None:
    problem = "spec.scheduling.priorityClassName: there is no PriorityClass 'high'; create it"
    seen = replace(look(world_of()).observe(), queue=QueueView(workloads={}, problem=problem))
    plan = decide(seen, SETTINGS, NOW)
    (condition,) = [item for item in plan.status.conditions if item.type == "Ready"]
    assert (plan.actions, condition.message) == ((), problem)


def test_a_workload_that_a_finalizer_keeps_is_named_with_it() -> None:
    world = look(training().with_spec(suspend=True))
    ((name, workload),) = world.workloads.items()
    world = look(stopped(world))
    leaving = {"deletionTimestamp": "2026-11-25T12:00:00Z", "finalizers": ["example.com/audit"]}
    kept = {name: {**workload, "metadata": {**workload["metadata"], **leaving}}}
    world = look(replace(world, workloads=kept).with_spec(suspend=False), times=2)
    assert ready(world)[2] == f"Workload {name} of before is still to go, finalizer example.com/audit keeps it"


def test_no_name_is_used_again_that_kueue_may_not_have_forgotten() -> None:
    first = queued()
    resumed = look(look(first.with_spec(suspend=True), times=3).later(1).with_spec(suspend=False), times=2)
    lost = look(stopped(look(kueue.deleted(training(), "quick"))), times=2)
    unstuck = look(look(kueue.deleted(queued(), "quick")).later(PAUSE))
    again = look(look(kueue.deleted(look(unstuck), "quick")).later(PAUSE))
    namesake = look(world_of(uid="2"))
    evaluated = evaluating()
    names = [name for world in (first, resumed, lost, unstuck, again, namesake, evaluated) for name in world.workloads]
    assert kueue.gangs(evaluated) == ["quick", "quick-evaluate"]
    assert unstuck.workloads.keys() == lost.workloads.keys(), "both queue for their second attempt"
    assert len(set(names)) == 6, names
    assert evaluated.workloads.keys() > first.workloads.keys(), "that of one queueing is made once"


def test_a_suspended_job_that_goes_on_at_once_never_runs_on_quota_that_it_gave_back() -> None:
    world = look(stopped(look(training().with_spec(suspend=True))))
    finished = kueue.conditions_of(world, "quick")["Finished"]
    assert (world.status.phase, finished["status"], finished["reason"]) == ("Suspended", "True", "Suspended")
    stale = look(replace(look(world).with_spec(suspend=False), workloads=world.workloads))
    assert (stale.pods, stale.status.phase) == ({}, "Queued")
