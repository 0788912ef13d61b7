"""What one look at a large gang costs the operator: `python bench_rank_table_look.py`.

The decision alone, without requests, in seconds of the processor, for pods with 8 cards: while one pod still waits for
its cards, when the last one has them, and once all know the table. The table of 2,048 pods fits into no ConfigMap, so
that it is never published: a job of that size is refused. Then for 4,096 pods with a rank each, the most pods for that
many ranks: while they start and while they train; and with all else that a look is, but for requests.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arcface_api.contract.pod_environment import RANK_TABLE_ANNOTATION
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Annotate
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS, make_worker
from support.decision_table import observation_in, status_in
from support.fakes.failing_cluster import REF, UID, Controller, FailingCluster, body

PODS, CARDS, LOOKS, RANKS = (512, 1024, 1713, 2048), 8, 7, 4096
"""1,713 pods are the most whose table a ConfigMap holds for sure."""


def main() -> None:
    for pods in PODS:
        measure(pods)
    measure_ranks()


def measure(count: int) -> None:
    """One gang from its first cards to its training."""
    pods = tuple(pod(index) for index in range(count))
    waiting = (*pods[:-1], make_worker(count - 1, node="last", annotations={}))
    look(f"{count} pods, one without cards", waiting)
    plan = look(f"{count} pods, all have cards", pods)
    versions = {action.annotations[RANK_TABLE_ANNOTATION] for action in plan.actions if isinstance(action, Annotate)}
    if versions:
        look(f"{count} pods, all know the table", tuple(pod(index, versions.copy().pop()) for index in range(count)))


def measure_ranks() -> None:
    """A gang of as many pods as ranks, which meet by an address."""
    workers = {"accelerator": "cpu", "replicas": RANKS}
    addresses = (f"10.244.{index // 250}.{index % 250 + 1}" for index in range(RANKS))
    pods = tuple(
        make_worker(index, owner=UID, node=f"node-{index}", address=address) for index, address in enumerate(addresses)
    )
    for phase in ("Starting", "Training"):
        plan = look(f"{RANKS} pods of one rank, {phase}", pods, workers, phase)
        assert not plan.actions, plan.actions[0]
    controller = Controller(FailingCluster(pods), body("Training", {"attempt": 0}, workers=workers))
    print(f"the same, seen and written, too: {1e3 * asyncio.run(whole_look(controller)):.1f} ms")
    assert set(controller.cluster.asked) == {"replace status"}


async def whole_look(controller: Controller) -> float:
    """Median seconds of looks, each of which writes figures to an API server that answers at once."""
    seconds = []
    for _ in range(LOOKS):
        controller.cluster.seconds += SETTINGS.progress_seconds
        began = time.process_time()
        await controller.reconciler.handle(REF)
        seconds.append(time.process_time() - began)
    return sorted(seconds)[LOOKS // 2]


def look(title: str, pods: tuple[PodView, ...], workers: Any = None, phase: Any = "Starting", **seen: Any) -> Any:
    """The first look, which reads what was written on the pods, and the median of those that follow."""
    workers = workers or {"accelerator": "ascend", "replicas": len(pods), "devicesPerWorker": CARDS}
    job = make_job(workers=workers, training={"precision": "fp32"})
    job = job.model_copy(update={"status": status_in(phase, attempt=0)})
    seconds = []
    for _ in range(LOOKS):
        observed = observation_in(
            phase, job, {"pods": pods, **seen}
        )  # as after each change of a pod: nothing is sorted
        began = time.process_time()
        plan = decide(observed, SETTINGS, NOW)
        seconds.append(time.process_time() - began)
    first, *others = seconds
    print(f"{title:36} first {1e3 * first:6.1f} ms, then {1e3 * sorted(others)[len(others) // 2]:6.1f} ms")
    return plan


def pod(index: int, version: str | None = None) -> PodView:
    """A pod as the device plugin 7.2 leaves it."""
    third, fourth = index // 250, index % 250 + 1
    cards = [
        {"device_id": str(card), "device_ip": f"192.{168 + card}.{third}.{fourth}", "super_device_id": "0"}
        for card in range(CARDS)
    ]
    written = {"pod_name": f"quick-worker-{index}", "server_id": f"10.0.{third}.{fourth}", "super_pod_id": -2}
    annotations = {SETTINGS.device_annotation: json.dumps({**written, "devices": cards}, separators=(",", ":"))}
    if version is not None:
        annotations[RANK_TABLE_ANNOTATION] = version
    addresses = {"address": f"10.244.{third}.{fourth}", "host_address": f"10.0.{third}.{fourth}"}
    return make_worker(index, node=f"node-{index}", annotations=annotations, **addresses)


if __name__ == "__main__":
    main()
