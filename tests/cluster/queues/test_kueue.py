"""Kueue v0.17, its real manager: jobs wait in its queues without pods, are preempted, come back and leave nothing."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, JOB_LABEL
from support.processes.lives import Life, live_all, unharmed
from support.processes.mortal_operator import EVERY, Deaths, spread
from support.processes.operator_process import OperatorProcess
from support.processes.release import PREVIOUS, Release
from support.processes.training_jobs import (
    EVALUATES,
    TRAINS,
    TRAINS_BRIEFLY,
    WELL,
    TrainingJobs,
    condition,
    goes_well,
)
from support.processes.whole_life import SECONDS as LIFE_SECONDS, assert_it_went_well, live
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer, found
from testbed.control_plane.claims import bind_empty_claim
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Ending, Script, label_of
from testbed.schedulers.kueue import Kueue
from testbed.schedulers.kueue_objects import (
    FLAVOUR,
    FLAVOUR_LABELS,
    FLAVOUR_TOLERATION,
    URGENT,
    Workloads,
    cluster_queue,
)

JOB: dict[str, Any] = {
    "workers": {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 1},
    "training": {"precision": "fp32"},
    "scheduling": {"gang": "kueue", "queue": "faces"},
}
TOLD = "/workloads"
"""What Kueue is told: a Workload, pods are ready, quota is given back, a stage is finished."""
SECONDS = 30.0
"""In which nothing may be left of a job that is deleted."""


@pytest.fixture(scope="module")
def kueue(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """The manager, with quota for one job."""
    with Kueue(plane, tmp_path_factory.mktemp("kueue")) as manager:
        manager.apply([FLAVOUR, cluster_queue("npu"), URGENT])
        yield manager


@pytest.fixture(autouse=True)
def workloads(kueue: Kueue, jobs: TrainingJobs) -> Iterator[Workloads]:
    """The namespace's way to the quota, all of which is free again for the next test."""
    workloads = Workloads(jobs.api, jobs.namespace)
    workloads.add_queue("faces", "npu")
    yield workloads
    answer(jobs.api.delete(jobs.path))
    wait_until(lambda: not workloads.all())


def pods_of(jobs: TrainingJobs, name: str) -> list[str]:
    return [pod for pod, manifest in jobs.pods().items() if label_of(manifest, JOB_LABEL) == name]


def end(jobs: TrainingJobs, nodes: FakeNodes, name: str, ending: Ending = WELL) -> None:
    """All ranks of a job end."""
    for pod in pods_of(jobs, name):
        nodes.finish(jobs.namespace, pod, ending)


def first_attempts_wait(pod: dict[str, Any]) -> Script:
    """First attempts train until the test ends them, others for a moment."""
    return TRAINS if label_of(pod, ATTEMPT_LABEL) == "0" else TRAINS_BRIEFLY


def test_jobs_wait_without_pods_are_preempted_and_come_back_uncounted(
    jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads
) -> None:
    nodes.play(jobs.namespace, first_attempts_wait)
    jobs.create("first", **JOB, runPolicy={"backoffLimit": 0})
    jobs.wait_for("Training", "first")
    for pod in jobs.pods().values():
        assert pod["spec"]["nodeSelector"]["accelerator"] == FLAVOUR_LABELS["accelerator"]
        assert FLAVOUR_TOLERATION in pod["spec"]["tolerations"]
        assert "finalizers" not in pod["metadata"]
    jobs.create("second", **JOB)
    jobs.wait_until(
        lambda status: "insufficient unused quota" in condition(status, "Ready").get("message", ""), "second"
    )
    assert (jobs.phase("second"), pods_of(jobs, "second")) == ("Queued", [])
    urgent = {**JOB, "scheduling": {**JOB["scheduling"], "priorityClassName": "urgent"}}
    jobs.create("urgent", **urgent)
    jobs.wait_for("Training", "urgent")
    assert (jobs.phase("first"), pods_of(jobs, "first"), jobs.phase("second")) == ("Queued", [], "Queued")
    assert condition(jobs.status("first"), "Training")["reason"] == "QuotaWithdrawn"
    end(jobs, nodes, "urgent")
    jobs.wait_for("Succeeded", "urgent")
    # The two that wait have the same priority; whichever comes first, the other's turn comes when it is done.
    wait_until(lambda: jobs.phase("first") == "Succeeded" or jobs.phase("second") == "Training")
    if jobs.phase("second") == "Training":
        end(jobs, nodes, "second")
    status = jobs.wait_for("Succeeded", "first")
    assert (status["attempt"], status["restarts"], status["countedRestarts"]) == (1, 0, 0)
    if jobs.phase("second") != "Succeeded":
        jobs.wait_for("Training", "second")
        end(jobs, nodes, "second")
    jobs.wait_for("Succeeded", "second")
    wait_until(lambda: all(workloads.holds(name, "Finished") for name in ("first", "second", "urgent")))


def test_a_crash_restarts_within_its_admission(jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads) -> None:
    nodes.play(jobs.namespace, TRAINS)
    jobs.create(**JOB)
    jobs.wait_for("Training")
    before = workloads.all()["quick"]
    jobs.create("other", **JOB)
    end(jobs, nodes, "quick", Ending(exit_code=1))
    jobs.wait_until(lambda status: status["attempt"] == 1 and status["phase"] == "Training")
    after = workloads.all()["quick"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["admission"] == before["status"]["admission"]
    assert pods_of(jobs, "other") == []


def test_a_suspended_job_gives_its_quota_to_others_and_queues_again(jobs: TrainingJobs, nodes: FakeNodes) -> None:
    nodes.play(jobs.namespace, TRAINS)
    jobs.create("first", **JOB)
    jobs.wait_for("Training", "first")
    jobs.create("second", **JOB)
    jobs.patch("first", suspend=True)
    jobs.wait_for("Training", "second")
    assert (jobs.phase("first"), pods_of(jobs, "first")) == ("Suspended", [])
    jobs.patch("first", suspend=False)
    jobs.wait_for("Queued", "first")
    end(jobs, nodes, "second")
    jobs.wait_for("Training", "first")


def test_a_job_whose_workload_is_deleted_while_it_waits_keeps_waiting_and_trains_in_its_turn(
    jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads
) -> None:
    nodes.play(jobs.namespace, TRAINS)
    jobs.create("first", **JOB)
    jobs.wait_for("Training", "first")
    jobs.create("second", **JOB)
    wait_until(lambda: jobs.status("second").get("workload"))
    before = workloads.all()["second"]["metadata"]
    workloads.delete(before["name"])
    wait_until(lambda: jobs.status("second")["workload"] != before["name"])
    assert (jobs.phase("second"), pods_of(jobs, "second")) == ("Queued", [])
    end(jobs, nodes, "first")
    status = jobs.wait_for("Training", "second")
    assert (status["attempt"], status["restarts"]) == (1, 0)


def test_both_stages_queue_and_both_are_finished(jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads) -> None:
    bind_empty_claim(jobs.api, jobs.namespace, "sets")
    nodes.play(jobs.namespace, goes_well(EVALUATES))
    jobs.create(**JOB, evaluation={"claimName": "sets", "sets": ["lfw"]})
    jobs.wait_for("Succeeded")
    wait_until(lambda: all(workloads.holds(name, "Finished") for name in ("quick", "quick-evaluate")))


def test_a_queue_that_is_not_there_is_named_by_kueue(jobs: TrainingJobs) -> None:
    jobs.create(**{**JOB, "scheduling": {"gang": "kueue", "queue": "nowhere"}})
    status = jobs.wait_until(lambda status: "doesn't exist" in condition(status, "Ready").get("message", ""))
    assert (status["phase"], jobs.pods()) == ("Queued", {})


@pytest.mark.parametrize("is_up", [True, False], ids=["operator up", "operator down"])
@pytest.mark.parametrize("what", ["job", "namespace"])
def test_nothing_is_left_of_what_is_deleted(
    jobs: TrainingJobs, nodes: FakeNodes, workloads: Workloads, operator: OperatorProcess, what: str, is_up: bool
) -> None:
    nodes.play(jobs.namespace, TRAINS)
    jobs.create("runs", **JOB)
    jobs.wait_for("Training", "runs")
    jobs.create("waits", **JOB)
    jobs.wait_for("Queued", "waits")
    if not is_up:
        operator.stop()
    delete, is_gone = deletion(jobs, workloads, what)
    delete()
    try:
        wait_until(is_gone, SECONDS)
    finally:
        if not is_up:
            operator.start()
            operator.wait_until_it_leads()


def test_the_operator_may_die_after_any_write_of_a_job_that_queues(
    plane: ControlPlane, nodes: FakeNodes, operator: OperatorProcess, kueue: Kueue, tmp_path: Path
) -> None:
    operator.stop()  # it looks everywhere
    try:
        with Release(tmp_path / "previous", PREVIOUS) as previous, Release(tmp_path / "present") as present:
            previous.grant_rights(plane)
            course = partial(live_in_a_queue, kueue)
            lives = [
                Life(name=f"queues-{number}", releases=[present], deaths=deaths, course=course)
                for number, deaths in enumerate(spread())
            ]
            deaths = Deaths(every=EVERY, and_after=TOLD)
            lives.append(Life(name="upgraded", releases=[previous, present], deaths=deaths, course=course))
            lived = live_all(plane, nodes, tmp_path, lives, at_once=len(nodes.names))
    finally:
        operator.start()
        operator.wait_until_it_leads()
    for life in lived:
        assert_it_went_well(life.status)
        assert life.died_after, f"nobody died in {life.name}"
    assert unharmed(lived) == set()
    assert [write for write in lived[-1].died_after if re.search(TOLD, write)], lived[-1].died_after


def live_in_a_queue(kueue: Kueue, jobs: TrainingJobs, _: object) -> dict[str, Any]:
    """A job's life with a quota of its own, in which somebody else preempts it."""
    kueue.apply([cluster_queue(jobs.namespace)])
    workloads = Workloads(jobs.api, jobs.namespace)
    workloads.add_queue("faces", jobs.namespace)

    def preempt(jobs: TrainingJobs) -> None:
        workloads.add_urgent("others", "faces")
        wait_until(lambda: workloads.holds("others", "Admitted"), LIFE_SECONDS)
        jobs.wait_for("Queued", seconds=LIFE_SECONDS)
        assert not jobs.pods()
        workloads.delete("others")

    status = live(jobs, preempt, scheduling=JOB["scheduling"])
    wait_until(lambda: all(workloads.holds(name, "Finished") for name in ("quick", "quick-evaluate")), LIFE_SECONDS)
    return status


def deletion(jobs: TrainingJobs, workloads: Workloads, what: str) -> tuple[Callable[[], None], Callable[[], bool]]:
    """How jobs go, and whether nothing is left of them."""
    if what == "job":

        def delete() -> None:
            for name in ("runs", "waits"):
                jobs.delete(name)

        return delete, lambda: not jobs.pods() and not workloads.all()
    namespace = f"/api/v1/namespaces/{jobs.namespace}"
    return lambda: answer(jobs.api.delete(namespace)), lambda: found(jobs.api.get(namespace)) is None
