"""The operator is killed after the writes of a job's whole life, started again, and every life ends right."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.fakes.api_proxy import ApiProxy
from support.processes.lives import Life, live_all, unharmed
from support.processes.mortal_operator import NEVER, VERDICT, spread
from support.processes.operator_process import USER, OperatorProcess
from support.processes.release import Release
from support.processes.training_jobs import TRAINS, TrainingJobs
from support.processes.whole_life import assert_it_went_well, live
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes

OUTAGE_SECONDS = 60.0
"""Longer than any pause of the informers, 15 s."""
PODS = {"quick-worker-0": {2, 3}, "quick-worker-1": {3}, "quick-evaluate": {2}}
"""How often each is made. Only where the operator died between the two pods of the first attempt may rank 1 have
crashed before rank 0 was there."""


def test_the_operator_may_die_after_any_write_and_lives_through_an_outage(
    plane: ControlPlane, all_fake_nodes: FakeNodes, tmp_path: Path
) -> None:
    since = plane.audit_log.size()
    with Release(tmp_path / "present") as release:
        deaths = enumerate(spread())
        lives = [
            Life(name="outage", releases=[release], deaths=NEVER, course=live_through_an_outage),
            *(Life(name=f"dies-{number}", releases=[release], deaths=death) for number, death in deaths),
        ]
        lived = live_all(plane, all_fake_nodes, tmp_path, lives)
    for life in lived:
        assert_it_went_well(life.status)
        assert (VERDICT in life.died_after) == (life.name != "outage"), "the cleaning was never another operator's"
    deadly = {write.split()[0] for life in lived for write in life.died_after}
    assert deadly == {"POST", "PUT", "PATCH", "DELETE", VERDICT}
    assert unharmed(lived) == set()
    created = Counter(
        (request["namespace"], request["name"])
        for request in plane.audit(since, USER)
        if (request["verb"], request["resource"], request["code"]) == ("create", "pods", 201)
    )
    assert len(created) == len(PODS) * len(lives)
    for (_, name), count in created.items():  # none doubled, none lost
        assert count in PODS[name], created


def live_through_an_outage(jobs: TrainingJobs, proxies: Sequence[ApiProxy]) -> dict[str, Any]:
    """A life, beside the others, in which the operator hears nothing but 503 for a minute; it goes on by itself."""
    (proxy,) = proxies

    def suspend_unheard(jobs: TrainingJobs) -> None:
        proxy.refuse_all(503)
        over = time.monotonic() + OUTAGE_SECONDS
        jobs.patch(suspend=True)
        wait_until(lambda: time.monotonic() > over, 2 * OUTAGE_SECONDS)
        assert (jobs.phase(), len(jobs.pods())) == ("Training", 2)
        proxy.heal()
        jobs.wait_for("Suspended")
        jobs.patch(suspend=False)

    return live(jobs, suspend_unheard)


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
