"""From the release before to this one and back, in the middle of whatever jobs are in; pods stay as they are."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from arcface_api.contract.pod_environment import JOB_LABEL
from support.processes.lives import Life, live_all
from support.processes.mortal_operator import spread
from support.processes.operator_process import OperatorProcess, serve_jobs
from support.processes.release import Release
from support.processes.release_pods import Voices
from support.processes.training_jobs import TrainingJobs
from support.processes.whole_life import SPEC, assert_it_went_well
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import MERGE
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import label_of

ROOT = Path(__file__).resolve().parents[3]
ROOM = "arcface.test/room"
"""Label of the nodes that one job waits for."""
SMALL: dict[str, Any] = {"workers": {"replicas": 2}, "evaluation": SPEC["evaluation"]}
STATES = {"trains": "Training", "waits": "Queued", "rests": "Suspended", "evaluates": "Evaluating"}
"""Jobs by name, and the phase that each is in when operators change."""


def test_both_releases_run_as_what_they_are(previous: Release, present: Release) -> None:
    assert Path(previous.installation["origin"]).is_relative_to(previous.folder)
    assert Path(present.installation["origin"]).is_relative_to(ROOT / "operator")


def test_an_upgrade_after_any_write_and_the_way_back_some_writes_later(
    previous: Release, present: Release, control_plane: ControlPlane, all_fake_nodes: FakeNodes, tmp_path: Path
) -> None:
    """Operators of both releases take turns, and each goes on from what the other and its pods have written."""
    lives = [
        Life(name=f"upgraded-{number}", releases=[previous, present], deaths=deaths)
        for number, deaths in enumerate(spread())
    ]
    lived = live_all(control_plane, all_fake_nodes, tmp_path, lives)
    for life in lived:
        assert_it_went_well(life.status)
        assert len(life.died_after) > 4, "there and back, and again"


@pytest.fixture
def room(control_plane: ControlPlane, fake_nodes: FakeNodes) -> Iterator[Callable[[bool], None]]:
    """Gives the job that waits a node, or takes it away; it is as it was for the next test."""
    path = f"/api/v1/nodes/{fake_nodes.names[0]}"

    def give(is_there: bool) -> None:
        labels = {ROOM: "yes" if is_there else None}
        answer(control_plane.admin.patch(path, json={"metadata": {"labels": labels}}, headers=MERGE))

    yield give
    give(False)


@pytest.fixture
def definition(control_plane: ControlPlane) -> Iterator[Callable[[Release], None]]:
    """What Helm does before it replaces the operator, on the way forth and back: the definition is the release's."""

    def install(release: Release) -> None:
        manifest = json.dumps(release.installation["definition"])
        control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)

    yield install
    serve_jobs(control_plane)


@pytest.fixture
def jobs(control_plane: ControlPlane, namespace: str) -> TrainingJobs:
    jobs = TrainingJobs(control_plane.admin, namespace)
    jobs.bind_claims()
    return jobs


def test_jobs_are_handed_over_as_they_are(
    previous: Release,
    present: Release,
    control_plane: ControlPlane,
    fake_nodes: FakeNodes,
    jobs: TrainingJobs,
    room: Callable[[bool], None],
    definition: Callable[[Release], None],
    tmp_path: Path,
) -> None:
    voices = Voices(jobs, previous, present)
    fake_nodes.play(jobs.namespace, voices.at_work)
    definition(previous)
    leader = operator_of(previous, control_plane, jobs, tmp_path / "0")
    with ExitStack() as stack:
        stack.enter_context(leader).wait_until_it_leads()
        begin(jobs, fake_nodes, voices)
        before, pods = states(jobs), uids(jobs)
        for turn, release in enumerate((present, previous, present), start=1):
            definition(release)
            assert leader.stop() == 0
            leader = stack.enter_context(operator_of(release, control_plane, jobs, tmp_path / str(turn)))
            leader.wait_until_it_leads()
            assert_all_are_looked_at(jobs, turn)
            assert (states(jobs), uids(jobs)) == (before, pods)
        jobs.patch("rests", suspend=False)
        room(True)
        for name in ("trains", "waits", "rests"):
            jobs.wait_for("Training", name)
            end(jobs, fake_nodes, voices, name)
        for name in STATES:
            jobs.wait_for("Evaluating", name)
            end(jobs, fake_nodes, voices, name)
            status = jobs.wait_for("Succeeded", name)
            assert (status["restarts"], status["evaluation"]["results"][0]["accuracy"]) == (0, 0.998)
        assert jobs.status("rests")["checkpoint"]["resumedFromStep"] == 70


def operator_of(release: Release, plane: ControlPlane, jobs: TrainingJobs, folder: Path) -> OperatorProcess:
    """The one replica; how two of them follow each other by the Lease is tried elsewhere."""
    return release.operator(plane, folder, "--no-leader-election", "--namespace", jobs.namespace)


def begin(jobs: TrainingJobs, nodes: FakeNodes, voices: Voices) -> None:
    """A job in each state."""
    nowhere = {"spec": {"nodeSelector": {ROOM: "yes"}}}
    for name in STATES:
        template = {"template": nowhere} if name == "waits" else {}
        jobs.create(name, **{**SMALL, "workers": {**SMALL["workers"], **template}})
    for name in ("trains", "rests", "evaluates"):
        jobs.wait_for("Training", name)
    jobs.patch("rests", suspend=True)
    end(jobs, nodes, voices, "evaluates")
    for name, phase in STATES.items():
        jobs.wait_for(phase, name)
    wait_until(lambda: not pods_of(jobs, "rests"))


def states(jobs: TrainingJobs) -> dict[str, tuple[str, int, int]]:
    """Phase, attempt and restarts of all jobs."""
    found = {name: jobs.status(name) for name in STATES}
    return {name: (status["phase"], status["attempt"], status["restarts"]) for name, status in found.items()}


def uids(jobs: TrainingJobs) -> set[str]:
    """Which pods are there."""
    return {pod["metadata"]["uid"] for pod in jobs.pods().values()}


def assert_all_are_looked_at(jobs: TrainingJobs, turn: int) -> None:
    """A change of the spec is told back by whoever acts on the jobs now."""
    for name in STATES:
        jobs.patch(name, runPolicy={"backoffLimit": turn})
        generation = jobs.read(name)["metadata"]["generation"]
        jobs.wait_until(lambda status, wanted=generation: status["observedGeneration"] == wanted, name)


def pods_of(jobs: TrainingJobs, name: str) -> list[dict[str, Any]]:
    """Pods of a job."""
    return [pod for pod in jobs.pods().values() if label_of(pod, JOB_LABEL) == name]


def end(jobs: TrainingJobs, nodes: FakeNodes, voices: Voices, name: str) -> None:
    """The pods of a job that are at work have done it."""
    for pod in pods_of(jobs, name):
        if pod["status"]["phase"] == "Running":
            nodes.finish(jobs.namespace, pod["metadata"]["name"], voices.end(pod))
