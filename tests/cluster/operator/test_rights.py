"""The operator asks for nothing beyond rbac.yaml."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.processes.operator_process import RIGHTS, USER
from support.processes.training_jobs import TrainingJobs, goes_well
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes


def rights() -> Iterator[tuple[str, str, str]]:
    for rules in RIGHTS.values():
        for rule in rules:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    yield from ((group, resource, verb) for verb in rule["verbs"])


def right_of(request: dict[str, Any]) -> tuple[str, str, str]:
    resource = request["resource"] + (f"/{request['subresource']}" if request["subresource"] else "")
    return request["apiGroup"], resource, request["verb"]


@pytest.mark.usefixtures("operator")
def test_no_request_is_refused(jobs: TrainingJobs, fake_nodes: FakeNodes, plane: ControlPlane) -> None:
    since = plane.audit_log.size()
    fake_nodes.play(jobs.namespace, goes_well())
    jobs.create(
        workers={"accelerator": "ascend", "replicas": 2},
        training={"precision": "fp32"},
        evaluation={"claimName": "faces", "sets": ["lfw"]},
        runPolicy={"cleanPodPolicy": "All"},
    )
    jobs.wait_for("Succeeded")
    made = [request for request in plane.audit(since, USER) if request["resource"]]
    assert made
    refused = [request for request in made if request["code"] in {401, 403} and request["reason"] == ""]
    assert refused == []
    assert {right_of(request) for request in made} <= set(rights())
