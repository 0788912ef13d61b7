"""What Kueue does with a Workload, by its published contract (sigs.k8s.io/kueue v0.17, apis/kueue/v1beta2).

    Pending -> QuotaReserved -> Admitted -> Evicted (quota still held) -> Pending, once its controller gives it back

Its scheduler sets admission and QuotaReserved, which resets Evicted; Admitted follows; an eviction sets Evicted and
waits for the controller, however long that takes; `spec.active: false` keeps it from coming back. The real manager runs
in tests/cluster/queues.
"""

from dataclasses import replace
from typing import Any

from arcface_operator.manifests.metadata import Manifest
from support.builders.views import timestamp
from support.fakes.cluster_world import World

NO_QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor npu, 1 more needed"


def looked_at(world: World, name: str) -> World:
    """Kueue has no quota for a Workload, and says so."""
    return changed(world, name, QuotaReserved=("False", "Pending", NO_QUOTA))


def admitted(world: World, name: str) -> World:
    """Kueue has quota for a Workload."""
    assignment = {"name": "main", "count": 2, "flavors": {"cpu": "npu"}}
    world = world.with_workload(name, {"admission": {"clusterQueue": "all", "podSetAssignments": [assignment]}})
    conditions = {
        "QuotaReserved": ("True", "QuotaReserved", "Quota reserved"),
        "Admitted": ("True", "Admitted", "It is"),
    }
    if "Evicted" in conditions_of(world, name):
        conditions["Evicted"] = ("False", "QuotaReserved", "Previously")
    return changed(world, name, **conditions)


def evicted(world: World, name: str, reason: str = "Preempted") -> World:
    """Kueue wants the quota of a Workload back."""
    return changed(world, name, Evicted=("True", reason, "Preempted to accommodate a workload of higher priority"))


def deactivated(world: World, name: str) -> World:
    """An administrator takes a Workload out of its queue."""
    found = world.workloads[name]
    inactive = {**found, "spec": {**found["spec"], "active": False}}
    world = replace(world, workloads={**world.workloads, name: inactive})
    return evicted(world, name, "Deactivated")


def changed(world: World, name: str, **conditions: tuple[str, str, str]) -> World:
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
    return world.with_workload(name, {"conditions": list({**conditions_of(world, name), **new}.values())})


def conditions_of(world: World, name: str) -> dict[str, Manifest]:
    """Conditions of a Workload by type."""
    return {item["type"]: item for item in world.workloads[name]["status"].get("conditions", [])}


def holds_quota(world: World, name: str) -> bool:
    """Whether others wait for what a Workload has: until it is finished, gone, or has given it back."""
    if name not in world.workloads:
        return False
    conditions = conditions_of(world, name)
    is_finished = conditions.get("Finished", {}).get("status") == "True"
    return conditions.get("QuotaReserved", {}).get("status") == "True" and not is_finished


class NoQueues:
    """Reads nothing of Kueue, as for jobs that go past it."""

    async def read(self, _job: Any) -> None:
        return None
