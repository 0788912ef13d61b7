"""A gang of 4,096 ranks whose pod fails: how long until all pods are made anew, and by how many requests."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks.bench_operator import look_until, stamp
from benchmarks.scale.player import crash
from support.processes.operator_process import USER
from support.processes.training_jobs import LIVE, TrainingJobs
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import own_namespace
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Script, by_rank

PATIENCE_SECONDS = 600.0
VICTIM = 17
SHAPES = {512: (8, "ascend"), 4096: (1, "cpu")}
"""Ranks of each pod and what they compute on, by the number of pods."""


def measure(plane: ControlPlane, nodes: FakeNodes, tend: Callable[[], None], pods: int) -> str:
    """One restart, as a line; the operator is tended meanwhile."""

    def is_training(restarts: int) -> bool:
        tend()
        status = jobs.status()
        return status.get("phase") == "Training" and status.get("restarts", 0) == restarts

    ranks, accelerator = SHAPES[pods]
    name = f"gang-{pods}"
    with own_namespace(plane.admin, name) as place:
        jobs = TrainingJobs(plane.admin, name)
        jobs.bind_claims()
        nodes.play(name, by_rank({0: Script(progress=LIVE)}))
        workers = {"accelerator": accelerator, "replicas": pods, "devicesPerWorker": ranks}
        jobs.create(workers=workers, training={"precision": "fp32"})
        look_until(lambda: is_training(0), PATIENCE_SECONDS)
        since, died = plane.audit_log.size(), time.time()
        nodes.finish(name, f"quick-worker-{VICTIM}", crash(VICTIM * ranks))
        look_until(lambda: is_training(1), PATIENCE_SECONDS)
        made = [request for request in plane.audit(since, USER) if request["namespace"] == name]
        jobs.delete()
        look_until(lambda: not plane.admin.get(place.path, params={"limit": 1}).json()["items"], PATIENCE_SECONDS)
    return _told(f"gang of {pods} pods x {ranks} on {accelerator}", died, made)


def _told(gang: str, died: float, made: list[dict[str, Any]]) -> str:
    """What was done from the death on."""
    created = [r for r in made if (r["verb"], r["resource"], r["code"]) == ("create", "pods", 201)]
    deleted = [r for r in made if (r["verb"], r["resource"]) == ("delete", "pods")]
    written = [r for r in made if (r["verb"], r["subresource"]) == ("update", "status")]
    last = max(map(stamp, created))
    until = Counter(f"{r['verb']} {r['resource']}" for r in made if stamp(r) <= last)
    moments = {
        "told of": min(map(stamp, written)),
        "all old pods asked to go": max(map(stamp, deleted)),
        "first new pod": min(map(stamp, created)),
        "all new pods": last,
        "last request": max(map(stamp, made)),
    }
    seconds = ", ".join(f"{what} {moment - died:.2f} s" for what, moment in moments.items())
    return f"{gang}: {seconds}; {sum(until.values())} requests until all were there: {dict(until.most_common())}"
