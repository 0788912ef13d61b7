"""What Kueue does with a Workload, by its published contract (sigs.k8s.io/kueue v0.17, apis/kueue/v1beta2).

    Pending -> QuotaReserved -> Admitted -> Evicted (quota still held) -> Pending, once its controller gives it back

Its scheduler sets admission and QuotaReserved, which resets Evicted; Admitted follows; an eviction sets Evicted and
waits for the controller, however long that takes; `spec.active: false` keeps it from coming back. PodsReady is the
controller's word; where `waitForPodsReady` is on, too long without it is an eviction. The real manager runs in
tests/cluster/queues.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from arcface_operator.manifests.metadata import Manifest
from support.builders.views import timestamp
from support.fakes.cluster_world import World

NO_QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor npu, 1 more needed"


def of(world: World, gang: str) -> Manifest | None:
    """The Workload by which a gang of this name queues; None where there is none."""
    found = [item for name, item in world.workloads.items() if name.rpartition("-")[0] == gang]
    assert len(found) <= 1, found
    return found[0] if found else None


def gangs(world: World) -> list[str]:
    """Names of the gangs that have Workloads."""
    return sorted(name.rpartition("-")[0] for name in world.workloads)


def looked_at(world: World, gang: str) -> World:
    """Kueue has no quota for a Workload, and says so."""
    return changed(world, gang, QuotaReserved=("False", "Pending", NO_QUOTA))


def admitted(world: World, gang: str) -> World:
    """Kueue has quota for a Workload."""
    name = _there(world, gang)["metadata"]["name"]
    assignment = {"name": "main", "count": 2, "flavors": {"cpu": "npu"}}
    world = world.with_workload(name, {"admission": {"clusterQueue": "all", "podSetAssignments": [assignment]}})
    conditions = {
        "QuotaReserved": ("True", "QuotaReserved", "Quota reserved"),
        "Admitted": ("True", "Admitted", "It is"),
    }
    if "Evicted" in conditions_of(world, gang):
        conditions["Evicted"] = ("False", "QuotaReserved", "Previously")
    return changed(world, gang, **conditions)


def evicted(world: World, gang: str, reason: str = "Preempted") -> World:
    """Kueue wants the quota of a Workload back."""
    return changed(world, gang, Evicted=("True", reason, "Preempted to accommodate a workload of higher priority"))


def timed_out(world: World, gang: str, seconds: float) -> World:
    """Kueue waits so long for ready pods, at first and again, before it evicts an admitted Workload."""
    conditions = conditions_of(world, gang)
    ready = conditions.get("PodsReady", {"status": "False", "reason": "WaitForStart"})
    since = conditions["Admitted"] if ready["reason"] == "WaitForStart" else ready
    ends = datetime.fromisoformat(since["lastTransitionTime"]) + timedelta(seconds=seconds)
    is_late = ready["status"] == "False" and conditions["Admitted"]["status"] == "True" and world.now >= ends
    return evicted(world, gang, "PodsReadyTimeout") if is_late else world


def deactivated(world: World, gang: str) -> World:
    """An administrator takes a Workload out of its queue."""
    found = _there(world, gang)
    inactive = {**found, "spec": {**found["spec"], "active": False}}
    world = replace(world, workloads={**world.workloads, found["metadata"]["name"]: inactive})
    return evicted(world, gang, "Deactivated")


def deleted(world: World, gang: str) -> World:
    """Somebody deletes a Workload."""
    kept = {name: item for name, item in world.workloads.items() if name.rpartition("-")[0] != gang}
    return replace(world, workloads=kept)


def changed(world: World, gang: str, **conditions: tuple[str, str, str]) -> World:
    """A Workload with some conditions changed."""
    new = {
        kind: {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": timestamp(world.now),
        }
        for kind, (status, reason, message) in conditions.items()
    }
    name = _there(world, gang)["metadata"]["name"]
    return world.with_workload(name, {"conditions": list({**conditions_of(world, gang), **new}.values())})


def conditions_of(world: World, gang: str) -> dict[str, Manifest]:
    """Conditions of a Workload by type."""
    return {item["type"]: item for item in _there(world, gang)["status"].get("conditions", [])}


def holds_quota(world: World, gang: str) -> bool:
    """Whether others wait for what a Workload has: until it is finished, gone, or has given it back."""
    if of(world, gang) is None:
        return False
    conditions = conditions_of(world, gang)
    is_finished = conditions.get("Finished", {}).get("status") == "True"
    return conditions.get("QuotaReserved", {}).get("status") == "True" and not is_finished


def _there(world: World, gang: str) -> Manifest:
    """A Workload that must be there."""
    found = of(world, gang)
    assert found is not None, world.workloads
    return found


class NoQueues:
    """Reads nothing of Kueue, as for jobs that go past it."""

    async def read(self, _job: Any) -> None:
        return None
