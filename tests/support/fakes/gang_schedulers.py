"""Gang schedulers that are not to be had here, as state machines: what a gang goes through for hours and days.

    world, refusal = carried_out(world, plan, scheduler)
    world = scheduler.look(world)

By volcano-sh/volcano @ed72c7c8: a PodGroup is Pending until its queue has room (then Inqueue, Running); meanwhile a
webhook refuses its pods where it is installed, and pods that are there are Unschedulable for as long as it takes
(#4886, #1295, #621, #1778). To preempt or reclaim, pods are deleted, one or all, and never made again. The coscheduling
plugin (scheduler-plugins v0.34.7) lets pods that fit wait for their group, which nobody outside sees, and after
`scheduleTimeoutSeconds` calls them Unschedulable again. Neither gives a node to a part of a gang.
"""

from dataclasses import dataclass

from arcface_operator.decision.plan import Create, Plan
from arcface_operator.manifests.metadata import Manifest
from support.fakes.cluster_world import World


@dataclass
class Scheduler:
    """Places the gang of the job `quick` as a whole, once there is room."""

    has_room: bool = False

    def refusal(self, _world: World, _manifest: Manifest) -> str | None:
        """Why the API server does not take a pod."""
        return None

    def look(self, world: World) -> World:
        """One scheduling cycle; a gang without its group is not looked at."""
        if ("PodGroup", "quick") not in world.applied:
            return world
        waiting = [name for name, pod in world.pods.items() if "nodeName" not in pod["spec"]]
        size = world.job.spec.workers.replicas
        if self.has_room and len(waiting) == size:
            for name in waiting:
                world = world.started(name)
            return world
        for name in waiting:
            world = world.unschedulable(name)
        return world

    def preempt(self, world: World, names: list[str]) -> World:
        """Delete pods for the sake of others, who have the room now."""
        self.has_room = False
        for name in names:
            world = world.pod_deleted(name)
        return world


@dataclass
class Volcano(Scheduler):
    """With the phases of its PodGroup."""

    has_webhook: bool = True
    phase: str = "Pending"

    def refusal(self, world: World, manifest: Manifest) -> str | None:
        """While its group is Pending, or is not there yet, a pod is refused."""
        is_queued = ("PodGroup", "quick") in world.applied and self.phase != "Pending"
        if is_queued or not self.has_webhook:
            return None
        name = manifest["metadata"]["name"]
        return f"admission webhook validatepod.volcano.sh denied the request: {name}: the podgroup phase is Pending"

    def look(self, world: World) -> World:
        """The group moves on with the room that there is, and pods with their group."""
        if ("PodGroup", "quick") not in world.applied:
            return world
        self.phase = "Pending" if not self.has_room else "Inqueue" if self.phase == "Pending" else "Running"
        return super().look(world)


@dataclass
class Coscheduling(Scheduler):
    """With the patience of its PodGroup: pods that fit are tried again and again."""

    reserved_at: float | None = None

    def look(self, world: World) -> World:
        """A half of the gang fits now and then; it waits unseen, then is Unschedulable again."""
        if ("PodGroup", "quick") not in world.applied:
            return world
        timeout = world.applied["PodGroup", "quick"]["spec"]["scheduleTimeoutSeconds"]
        now = world.now.timestamp()
        if self.reserved_at is None or now - self.reserved_at > timeout:
            self.reserved_at = now
            return super().look(world)
        return world if not self.has_room else super().look(world)


def carried_out(world: World, plan: Plan, scheduler: Scheduler) -> tuple[World, str | None]:
    """The plan's status and actions, and what the API server said of the pods that it did not take."""
    refusal, world = None, world.written(plan.status)
    for action in plan.actions:
        if isinstance(action, Create) and (why := scheduler.refusal(world, action.manifest)) is not None:
            refusal = why
        else:
            world = world.after(action)
    return world, refusal
