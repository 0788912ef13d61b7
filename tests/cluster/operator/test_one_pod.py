"""One pod is lost and made anew on a real API server and scheduler; only kubelets and ranks are played."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arcface_api.contract.launcher_words import PodWord
from arcface_api.contract.pod_environment import LAUNCH_ANNOTATION, RankIdentity
from arcface_trainer.pod.launches import Exchange
from support.processes.operator_process import OperatorProcess
from support.processes.training_jobs import LIVE, TRAINS, TrainingJobs
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Script, by_rank


@pytest.fixture(autouse=True)
def replacing_operator(plane: ControlPlane, folder: Path, namespace: str) -> Iterator[None]:
    """An operator that makes lost pods anew alone, with the patience of users."""
    arguments = ("--no-leader-election", "--namespace", namespace)
    with OperatorProcess(plane, folder, *arguments, settings={"replaceSeconds": 300}) as process:
        process.wait_until_it_leads()
        yield


def facts(jobs: TrainingJobs) -> dict[str, tuple[str, str]]:
    """Uid and node of each pod."""
    return {name: (pod["metadata"]["uid"], pod["spec"].get("nodeName", "")) for name, pod in jobs.pods().items()}


def met_at(jobs: TrainingJobs, launch: int) -> str:
    """The address that all pods are called to, once all are."""
    found: list[str] = []

    def are_called() -> bool:
        pods = jobs.pods()
        calls = {pod["metadata"]["annotations"].get(LAUNCH_ANNOTATION, "") for pod in pods.values()}
        found[:] = [f"{launch} anew {pod['status'].get('podIP')}" for name, pod in pods.items() if name[-1] == "0"]
        return len(pods) == 2 and calls == set(found)

    wait_until(are_called)
    return found[0].split()[-1]


def test_a_lost_pod_is_made_anew_on_another_node_and_the_other_stays(jobs: TrainingJobs, fake_nodes: FakeNodes) -> None:
    told: dict[str, Any] = {**LIVE}
    fake_nodes.play(jobs.namespace, by_rank({0: Script(progress=lambda _: dict(told))}, others=TRAINS))
    jobs.create(workers={"replicas": 2})
    jobs.wait_for("Training")
    uid = jobs.read()["metadata"]["uid"]
    for launch, lost in enumerate(("quick-worker-1", "quick-worker-0"), start=1):
        before = facts(jobs)
        fake_nodes.evict(jobs.namespace, lost)
        exchange = Exchange(RankIdentity(world_size=2, attempt=0, job_uid=uid))
        exchange.serve(met_at(jobs, launch))
        for rank in range(2):
            exchange.take(PodWord(job_uid=uid, attempt=0, launch=launch, rank=rank))
        told.update(launch=launch, progress={**LIVE["progress"], "step": 70 + launch})
        status = jobs.wait_until(
            lambda status: status["phase"] == "Training" and "seconds" in status.get("recoveries", [{}])[-1]
        )
        after = facts(jobs)
        assert {name for name in after if after[name] != before[name]} == {lost}
        assert after[lost][1] != before[lost][1], "its node is to blame"
        assert (status["attempt"], status["launch"], status["restarts"]) == (0, launch, launch)
        assert status.get("countedRestarts", 0) == 0
        assert [each["rung"] for each in status["recoveries"]] == ["OnePod"] * launch
