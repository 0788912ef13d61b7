"""A network that keeps the operator from pods: packets really dropped, reset or answered with ICMP on their way."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from arcface_api.contract.pod_environment import METRICS_PORT
from support.processes.operator_process import OperatorProcess, grant_rights, serve_jobs
from support.processes.training_jobs import TrainingJobs, condition
from testbed.control_plane.pods import Pods
from testbed.images.oci_images import stand_in_image
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node
IMAGE = "localhost/serving-stand-in:test"
STAND_IN = f"""#!/bin/sh
# Plays `arcface train --config C --termination-log L`: tells of a step every 0.2 s until there is a file `end`.
report() {{
  now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  echo '{{"progress":{{"epoch":1,"step":'$1',"totalSteps":'$2',"updatedAt":"'$now'"}}}}' > "$3"
}}
mkdir /tmp/served
httpd -p {METRICS_PORT} -h /tmp/served
step=1
until [ -e /checkpoints/end ]; do
  report $step 1000000 /tmp/served/next
  mv /tmp/served/next /tmp/served/progress
  step=$((step + 1))
  sleep 0.2
done
report 7 7 "$5"
"""
UNREACHABLE_SECONDS = 2.0
TOO_SHORT = 1
"""Seconds of a limit that is over long before somebody is called unreachable."""
DENIALS = {
    "TimedOut": ["DROP"],
    "ConnectionRefused": ["REJECT", "--reject-with", "tcp-reset"],
    "NoRoute": ["REJECT", "--reject-with", "icmp-admin-prohibited"],
}
"""Ways in which network plugins deny, by what the operator calls them."""


@pytest.fixture(scope="module")
def operator(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator outside of the node, which reaches pods by way of the node's packet filter."""
    serve_jobs(node.plane)
    grant_rights(node.plane)
    node.add_image(stand_in_image(IMAGE, tmp_path_factory.mktemp("image") / "arcface", STAND_IN))
    settings = {"trainerImage": IMAGE, "unreachableSeconds": UNREACHABLE_SECONDS}
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(node.plane, folder, "--no-leader-election", settings=settings) as process:
        process.wait_until_it_leads()
        yield process


@pytest.fixture
def jobs(node: RealNode, pods: Pods, operator: OperatorProcess, tmp_path: Path) -> TrainingJobs:
    """Jobs whose claims are folders of the test."""
    for claim in ("faces", "checkpoints"):
        (tmp_path / claim).mkdir()
        node.claim(pods.namespace, claim, tmp_path / claim)
    return TrainingJobs(node.api, pods.namespace)


def test_trainings_that_are_cut_off_in_the_middle_go_on_and_are_seen_again(
    node: RealNode, jobs: TrainingJobs, tmp_path: Path
) -> None:
    names = {reason: reason.lower() for reason in DENIALS}
    for name in names.values():
        jobs.create(name, imagePullPolicy="Never", runPolicy={"backoffLimit": 0})
    for name in names.values():
        jobs.wait_until(lambda status: reach(status) == ("True", "Answers"), name)
    with ExitStack() as stack:
        for reason, verdict in DENIALS.items():
            address = pod_of(jobs, names[reason])["status"]["podIP"]
            stack.enter_context(node.network.denying(address, METRICS_PORT, *verdict))
            jobs.patch(names[reason], runPolicy={"stallSeconds": TOO_SHORT})
        for reason, name in names.items():
            status = jobs.wait_until(lambda status, why=reason: reach(status) == ("False", why), name)
            assert "NetworkPolicy" in condition(status, "Reachable")["message"]
            assert (status["phase"], status["attempt"]) == ("Training", 0)
            jobs.patch(name, runPolicy={"stallSeconds": 1800})
    for name in names.values():
        before = jobs.status(name)["progress"]["step"]
        status = jobs.wait_until(lambda status: reach(status) == ("True", "Answers"), name)
        jobs.wait_until(lambda status, least=before: status["progress"]["step"] > least, name)
    assert_all_succeed(jobs, tmp_path, names.values())


def test_a_training_that_was_never_seen_succeeds_by_its_last_report(
    node: RealNode, jobs: TrainingJobs, tmp_path: Path
) -> None:
    with node.network.denying(node.network.pod_range, METRICS_PORT, "DROP"):
        jobs.create(imagePullPolicy="Never", runPolicy={"backoffLimit": 0})
        jobs.wait_until(lambda _: pod_of(jobs)["status"]["phase"] == "Running")
        jobs.patch(runPolicy={"startupDeadlineSeconds": TOO_SHORT, "stallSeconds": TOO_SHORT})
        status = jobs.wait_until(lambda status: reach(status) == ("False", "TimedOut"))
        assert (status["phase"], status.get("progress")) == ("Starting", None)
        assert_all_succeed(jobs, tmp_path, ["quick"])


def reach(status: dict[str, Any]) -> tuple[str | None, str | None]:
    """Whether the first pod is reached, and why not."""
    found = condition(status, "Reachable")
    return found.get("status"), found.get("reason")


def pod_of(jobs: TrainingJobs, name: str = "quick") -> dict[str, Any]:
    """The one pod of a job."""
    return jobs.pods().get(f"{name}-worker-0", {"status": {"phase": None}})


def assert_all_succeed(jobs: TrainingJobs, folder: Path, names: Any) -> None:
    """Let the trainings come to their end, the first attempt's."""
    (folder / "checkpoints" / "end").touch()
    for name in names:
        status = jobs.wait_for("Succeeded", name)
        assert (status["attempt"], status["restarts"], status["progress"]["step"]) == (0, 0, 7)
