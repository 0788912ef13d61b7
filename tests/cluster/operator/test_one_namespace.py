"""An operator of one namespace, with rights there and nowhere else."""

from pathlib import Path

import httpx

from support.processes.operator_process import NAMESPACE, OperatorProcess, grant_rights_in
from support.processes.training_jobs import TrainingJobs, goes_well
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import own_namespace
from testbed.fake_nodes.nodes import FakeNodes

NAME = "narrow"
USER = f"system:serviceaccount:{NAMESPACE}:{NAME}"


def test_it_runs_jobs_there_and_touches_none_elsewhere(
    jobs: TrainingJobs, fake_nodes: FakeNodes, plane: ControlPlane, api: httpx.Client, folder: Path
) -> None:
    grant_rights_in(plane, jobs.namespace, NAME)
    since = plane.audit_log.size()
    fake_nodes.play(jobs.namespace, goes_well())
    arguments = ("--no-leader-election", "--namespace", jobs.namespace)
    with (
        own_namespace(api, f"{jobs.namespace}-other") as other,
        OperatorProcess(plane, folder, *arguments, user=USER) as operator,
    ):
        operator.wait_until_it_leads()
        elsewhere = TrainingJobs(api, other.namespace)
        elsewhere.bind_claims()
        elsewhere.create()
        jobs.create(
            workers={"accelerator": "ascend", "replicas": 2},
            training={"precision": "fp32"},
            evaluation={"claimName": "faces", "sets": ["lfw"]},
        )
        jobs.wait_for("Succeeded")
        assert elsewhere.status() == {}
    refused = [request for request in plane.audit(since, USER) if request["code"] in {401, 403}]
    # It asks once in a while and goes on without: what nodes offer, and what kopf would like to know.
    assert {request["resource"] for request in refused} <= {"nodes", "customresourcedefinitions", "namespaces", ""}


def test_a_namespace_without_rights_does_not_stop_the_other_and_is_served_once_it_has_them(
    jobs: TrainingJobs, fake_nodes: FakeNodes, plane: ControlPlane, api: httpx.Client, folder: Path
) -> None:
    grant_rights_in(plane, jobs.namespace, NAME)
    arguments = ("--no-leader-election", "--namespace", jobs.namespace)
    with own_namespace(api, f"{jobs.namespace}-later") as other:
        later = TrainingJobs(api, other.namespace)
        later.bind_claims()
        for each in (jobs, later):
            fake_nodes.play(each.namespace, goes_well())
            each.create()
        with OperatorProcess(plane, folder, *arguments, "--namespace", other.namespace, user=USER) as operator:
            operator.wait_until_it_leads()
            jobs.wait_for("Succeeded")
            assert later.status() == {}
            grant_rights_in(plane, other.namespace, NAME)
            later.wait_for("Succeeded", seconds=60)
            assert operator.is_serving()
