"""What is decided is carried out on real processes of this machine."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Annotate, Apply, Create, Delete, EmitEvent
from arcface_operator.local.cluster import LocalCluster
from arcface_operator.local.kubelet.directories import locked_workdir
from arcface_operator.local.kubelet.kubelet import Kubelet
from arcface_operator.local.kubelet.orphans import marked
from support.waiting import wait_until

SLEEP = "import signal; signal.pause()"
SAVE_ON_SIGTERM = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
pathlib.Path("ready").touch()
while True:
    signal.pause()
"""
WAIT_TO_BE_TOLD = """
import pathlib, time
file = pathlib.Path("volumes/told/address")
while not file.read_text():
    time.sleep(0.01)
pathlib.Path("termination-log").write_text(file.read_text())
"""


def make_pod(index: int, script: str, attempt: int = 0, **spec: Any) -> dict[str, Any]:
    """A rank pod that runs a few lines of Python."""
    labels = {
        "app.kubernetes.io/component": "worker",
        "arcface.io/rank-index": str(index),
        "arcface.io/attempt": str(attempt),
    }
    container = {"name": "trainer", "command": [sys.executable, "-c", script]}
    metadata = {"name": f"quick-worker-{index}", "labels": labels}
    return {"metadata": metadata, "spec": {"terminationGracePeriodSeconds": 600, **spec, "containers": [container]}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with locked_workdir(tmp_path) as workdir:
        cluster = LocalCluster(Kubelet(workdir, {}), lambda: datetime.now(UTC))
        yield cluster
        cluster.close()
        assert marked(workdir.pods) == []


def create(cluster: LocalCluster, *pods: dict[str, Any]) -> tuple[PodView, ...]:
    cluster.carry_out([Create(pod) for pod in pods])
    return cluster.look()


def delete(cluster: LocalCluster, view: PodView, grace_seconds: int | None = None) -> None:
    cluster.carry_out([Delete(resource="pods", name=view.name, uid=view.uid, grace_seconds=grace_seconds)])


def await_ends(cluster: LocalCluster) -> tuple[PodView, ...]:
    found: list[tuple[PodView, ...]] = []

    def have_ended() -> bool:
        found.append(cluster.look())
        return all(view.ended is not None for view in found[-1])

    wait_until(have_ended)
    return found[-1]


def test_a_gang_is_started_together_and_tells_its_ends(cluster: LocalCluster) -> None:
    views = create(cluster, make_pod(0, SLEEP), make_pod(1, "import sys; sys.exit(7)"))
    assert [view.index for view in views] == [0, 1]
    assert len({view.uid for view in views}) == len({view.address for view in views}) == 2
    wait_until(lambda: cluster.look()[1].ended is not None)
    first, second = cluster.look()
    assert first.ended is None
    assert second.ended is not None
    assert second.ended.exit_code == 7


def test_a_deleted_pod_may_save_and_is_gone_once_its_end_was_seen(cluster: LocalCluster, tmp_path: Path) -> None:
    (view,) = create(cluster, make_pod(0, SAVE_ON_SIGTERM))
    wait_until((tmp_path / "pods" / "quick-worker-0" / "ready").exists)
    delete(cluster, view)
    delete(cluster, view)
    assert all(view.is_leaving for view in cluster.look())
    (last,) = await_ends(cluster)
    assert last.ended is not None
    assert (last.ended.exit_code, last.is_leaving) == (143, True)
    assert cluster.look() == ()


def test_the_time_to_save_may_be_made_shorter_and_not_longer(cluster: LocalCluster, tmp_path: Path) -> None:
    (view,) = create(cluster, make_pod(0, SAVE_ON_SIGTERM.replace("sys.exit(143)", "None")))
    wait_until((tmp_path / "pods" / "quick-worker-0" / "ready").exists)
    for asked, left in ((None, 600), (1, 1), (300, 1)):
        delete(cluster, view, asked)
        assert [leaving.grace_seconds for leaving in cluster.look()] == [left]
    (last,) = await_ends(cluster)
    assert last.ended is not None
    assert last.ended.exit_code == 137


def test_a_pod_that_had_ended_goes_at_once(cluster: LocalCluster) -> None:
    create(cluster, make_pod(0, ""))
    (view,) = await_ends(cluster)
    delete(cluster, view)
    assert cluster.look() == ()


def test_a_namesake_is_not_deleted(cluster: LocalCluster) -> None:
    create(cluster, make_pod(0, ""))
    (old,) = await_ends(cluster)
    delete(cluster, old)
    cluster.look()
    create(cluster, make_pod(0, SLEEP, attempt=1))
    delete(cluster, old)
    (new,) = cluster.look()
    assert (new.attempt, new.is_leaving) == (1, False)


def test_a_pod_is_told_what_the_operator_writes_on_it(cluster: LocalCluster) -> None:
    item = {"path": "address", "fieldRef": {"fieldPath": "metadata.annotations['meets-at']"}}
    volumes = [{"name": "told", "downwardAPI": {"items": [item]}}]
    (view,) = create(cluster, make_pod(0, WAIT_TO_BE_TOLD, volumes=volumes))
    cluster.carry_out(
        [Annotate(name=view.name, uid=view.uid, annotations={"meets-at": "127.9.9.9"}, condition="Ready")]
    )
    (told,) = await_ends(cluster)
    assert told.annotations == {"meets-at": "127.9.9.9"}
    assert told.ended is not None
    assert (told.ended.exit_code, told.ended.message) == (0, "127.9.9.9")


def test_a_second_request_leaves_no_time_to_save(cluster: LocalCluster, tmp_path: Path) -> None:
    (view,) = create(cluster, make_pod(0, SAVE_ON_SIGTERM.replace("sys.exit(143)", "None")))
    wait_until((tmp_path / "pods" / "quick-worker-0" / "ready").exists)
    delete(cluster, view)
    cluster.kill()
    (last,) = await_ends(cluster)
    assert last.ended is not None
    assert last.ended.exit_code == 137


def test_config_maps_are_kept_and_what_needs_a_cluster_is_passed_over(cluster: LocalCluster) -> None:
    config = {"kind": "ConfigMap", "metadata": {"name": "quick-config"}, "data": {}}
    service = {"kind": "Service", "metadata": {"name": "quick"}}
    cluster.carry_out([Apply(config), Apply(service), EmitEvent(type="Normal", reason="Pending", message="")])
    assert cluster.kubelet.config_maps == {"quick-config": config}
