"""The operator is killed after every single write of a job's life, started again, and every run ends right."""

import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest

from support.fakes.api_proxy import ApiProxy
from support.processes.operator_process import GROUPS, USER, OperatorProcess
from support.processes.training_jobs import EVALUATES, TRAINS, WELL, TrainingJobs
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import own_namespace
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Ending, Manifest, Script, label_of

CRASHES = Script(progress=TRAINS.progress, runs=0.5, ending=Ending(exit_code=1))
TRAINS_WELL = Script(progress=TRAINS.progress, runs=0.5, ending=WELL)
SPEC = {
    "workers": {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 2},
    "training": {"precision": "fp32"},
    "evaluation": {"claimName": "faces", "sets": ["lfw"]},
    "runPolicy": {"cleanPodPolicy": "All"},
}
MOST_WRITES = 80
"""Far more than a life has: the enumeration ends when a life ends without reaching the next number."""


def one_crash(pod: Manifest) -> Script:
    """Rank 1 of the first attempt crashes; everything else goes well."""
    if label_of(pod, "app.kubernetes.io/component") == "evaluator":
        return EVALUATES
    if label_of(pod, "arcface.io/attempt") != "0":
        return TRAINS_WELL
    return CRASHES if label_of(pod, "arcface.io/rank-index") == "1" else TRAINS


def live(
    plane: ControlPlane, nodes: FakeNodes, api: httpx.Client, folder: Path, name: str, killed_after: int
) -> tuple[bool, list[str]]:
    """One life of a job; whether the operator was killed in it, and the operator's writes."""
    killed = []
    with own_namespace(api, name), ApiProxy(plane, USER, GROUPS) as proxy:
        jobs = TrainingJobs(api, name)
        jobs.bind_claims()
        nodes.play(name, one_crash)
        operator = OperatorProcess(plane, folder, "--no-leader-election", "--namespace", name)
        operator.kubeconfig = proxy.kubeconfig(folder / "kubeconfig")

        lock, is_over = threading.Lock(), threading.Event()

        def kill(count: int) -> None:
            with lock:
                if count == killed_after and not is_over.is_set():
                    operator.kill()
                    killed.append(count)
                    operator.start()

        proxy.on_write = kill
        with operator:
            jobs.create(**SPEC)
            status = jobs.wait_for("Succeeded", seconds=60)
            wait_until(lambda: not jobs.pods(), seconds=60)
            with lock:
                is_over.set()  # a write from now on must not start an operator that nobody ends
        assert (status["attempt"], status["restarts"], status["countedRestarts"]) == (2, 1, 1)
        assert status["evaluation"]["results"][0]["accuracy"] == 0.998
        return bool(killed), proxy.writes


def test_the_operator_may_die_after_any_write(
    plane: ControlPlane, all_fake_nodes: FakeNodes, api: httpx.Client, tmp_path: Path
) -> None:
    since = plane.audit_log.size()
    unkilled = number = 0
    # Lives differ by a few writes: the enumeration is over when several in a row were too short to be ended.
    while unkilled < 3:
        number += 1
        assert number < MOST_WRITES, "a life has more writes than expected"
        was_killed, writes = live(plane, all_fake_nodes, api, tmp_path / str(number), f"dies-{number}", number)
        unkilled = 0 if was_killed else unkilled + 1
    last = writes[-4:]
    assert any(write.startswith("DELETE") for write in last), "the cleaning at the end was not reached"
    created = [
        (request["namespace"], request["name"])
        for request in plane.audit(since, USER)
        if (request["verb"], request["resource"], request["code"]) == ("create", "pods", 201)
    ]
    # Two attempts, hence each pod's name was created exactly twice in every life: none doubled, none lost. Only where
    # the operator died between the two pods of the first attempt may rank 1 have crashed before rank 0 was there.
    per_life = Counter(created)
    assert {count for (_, name), count in per_life.items() if name.endswith("-1")} == {2}
    assert {count for (_, name), count in per_life.items() if name.endswith("-0")} <= {1, 2}
    assert {count for (_, name), count in per_life.items() if name.endswith("-evaluate")} == {1}
    assert len(per_life) == 3 * number


@pytest.mark.parametrize("is_up", [True, False], ids=["operator up", "operator down"])
@pytest.mark.parametrize("what", ["job", "namespace"])
def test_deletion_leaves_nothing(
    jobs: TrainingJobs, fake_nodes: FakeNodes, plane: ControlPlane, folder: Path, is_up: bool, what: str
) -> None:
    fake_nodes.play(jobs.namespace, lambda _: TRAINS)
    with OperatorProcess(plane, folder, "--no-leader-election", "--namespace", jobs.namespace) as operator:
        jobs.create(workers={"replicas": 2})
        jobs.wait_for("Training")
        if not is_up:
            operator.kill()
        if what == "job":
            jobs.delete()
            kinds = [("pods", "v1"), ("services", "v1"), ("configmaps", "v1")]
            wait_until(lambda: not jobs.exists() and not any(jobs.children(*kind) for kind in kinds), seconds=60)
        else:
            jobs.api.delete(f"/api/v1/namespaces/{jobs.namespace}").raise_for_status()
            wait_until(lambda: jobs.api.get(f"/api/v1/namespaces/{jobs.namespace}").status_code == 404, seconds=90)
            jobs.api.post("/api/v1/namespaces", json={"metadata": {"name": jobs.namespace}}).raise_for_status()
