"""What a job has left where the garbage collector does not see that it is gone, on a control plane without one.

After a restart of the API server the collector may find a new job under the name of the old one: nobody deletes then.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.processes.operator_process import OperatorProcess, grant_rights, serve_jobs
from support.processes.training_jobs import TRAINS, TrainingJobs, goes_well
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import own_namespace
from testbed.fake_nodes.nodes import FakeNodes

WITHOUT = {"kube-controller-manager": ["--controllers=*,-garbage-collector-controller"]}
KINDS = ("pods", "configmaps", "services")


def owners(jobs: TrainingJobs) -> dict[str, list[str]]:
    """Uids of the owners of what is there, by its name."""
    there = [item["metadata"] for kind in KINDS for item in jobs.children(kind)]
    return {item["name"]: [owner["uid"] for owner in item["ownerReferences"]] for item in there}


def test_a_job_that_is_applied_again_takes_over_what_its_predecessor_has_left(tmp_path: Path) -> None:
    with (
        ControlPlane(tmp_path / "plane", flags=WITHOUT) as plane,
        FakeNodes(plane) as nodes,
        own_namespace(plane.admin, "left") as pods,
    ):
        serve_jobs(plane)
        grant_rights(plane)
        jobs = TrainingJobs(plane.admin, pods.namespace)
        jobs.bind_claims()
        with OperatorProcess(plane, tmp_path / "operator", "--no-leader-election") as operator:
            operator.wait_until_it_leads()
            nodes.play(pods.namespace, TRAINS)
            jobs.create(workers={"replicas": 2})
            jobs.wait_for("Training")
            first, left = jobs.read()["metadata"], owners(jobs)
            assert set(map(tuple, left.values())) == {(first["uid"],)}
            nodes.play(pods.namespace, goes_well())
            jobs.delete()
            wait_until(lambda: not jobs.exists())
            made = max(item["metadata"]["creationTimestamp"] for kind in KINDS for item in jobs.children(kind))
            later = datetime.fromisoformat(made) + timedelta(seconds=1)  # what is of one second cannot be told apart
            wait_until(lambda: datetime.now(UTC) >= later)
            jobs.create(workers={"replicas": 2})
            second = jobs.read()["metadata"]
            status = jobs.wait_for("Succeeded")
            assert (status["attempt"], status["restarts"]) == (0, 0)
            assert set(owners(jobs)) == set(left)
            assert set(map(tuple, owners(jobs).values())) == {(second["uid"],)}
            for resource in KINDS:  # nobody else does
                answer(plane.admin.delete(f"/api/v1/namespaces/{pods.namespace}/{resource}"))
