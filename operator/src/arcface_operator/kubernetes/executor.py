"""Carrying out a plan's actions, each of which may have been carried out before."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from arcface_api.contract import pod_environment as pods
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision import observation, plan as decided
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.kubernetes import client, outcomes
from arcface_operator.kubernetes.priority_semaphore import Priority
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.workload import KUEUE_VERSION

RESOURCE_VERSIONS = {"pods": "v1", "workloads": KUEUE_VERSION}
NAMESPACE_LEAVES = "NamespaceTerminating"
ALREADY_EXISTS = "AlreadyExists"
LOG = logging.getLogger(__name__)

Change = decided.Annotate | decided.WriteWorkloadStatus
"""Merges into what is there."""
Unordered = decided.Delete | Change | decided.DeletePodGroup | decided.DeleteJob
"""Requests that may be made all at once."""
CREATE_TRIES = 2
"""Of an object that stood in its own way and has gone by then."""
Answer = TypeVar("Answer")


class ActionExecutor:
    """Acts on behalf of one operator; what fails is handed back, each time with the condition that depends on it."""

    def __init__(
        self,
        api: client.Api,
        identity: str,
        now: Callable[[], datetime],
        changed: Callable[[Manifest], None],
        lacks: Callable[[Manifest], bool] = lambda _: False,
    ) -> None:
        self.api = api
        self.changed = changed
        self.lacks = lacks
        """Whether an object of ours is known not to be there; somebody else's may have its name."""
        self.identity = identity
        self.now = now

    async def prepare(self, job: ArcFaceTrainingJob, plan: decided.Plan) -> list[ActionFailure]:
        """Apply the objects that pods need, and try those that come later; once more, or in vain, does no harm.

        Raises:
            NamespaceLeaves: where nothing new is taken.
        """
        actions = [item for item in plan.actions if isinstance(item, decided.Apply | decided.DryRunCreate)]
        return await self._together(job, actions)

    async def act(self, job: ArcFaceTrainingJob, plan: decided.Plan) -> list[ActionFailure]:
        """Carry out all other actions.

        Raises:
            NamespaceLeaves: where nothing new is taken.
        """
        creations = [action for action in plan.actions if isinstance(action, decided.Create)]
        failed = await self._create_all(job, creations, plan.rollout)
        # Events can wait for pods, and are told only of what has been done.
        others = [action for action in plan.actions if isinstance(action, Unordered)]
        failed += await self._together(job, others)
        events = (action for action in plan.actions if isinstance(action, decided.EmitEvent))
        await asyncio.gather(*(self.emit(job, event) for event in events))
        return failed

    async def _create_all(
        self, job: ArcFaceTrainingJob, creations: list[decided.Create], rollout: decided.Rollout
    ) -> list[ActionFailure]:
        """Slow start: each batch is twice the one before, and none follows one that failed."""
        size, done = 1 if rollout is decided.Rollout.ONE_FIRST else client.IN_FLIGHT, 0
        while done < len(creations):
            if failed := await self._together(job, creations[done : done + size]):
                return failed
            done, size = done + size, 2 * size
        return []

    async def emit(self, job: ArcFaceTrainingJob, action: decided.EmitEvent) -> None:
        """Write an event; events help people, and no job fails, or waits, for want of one."""
        try:
            await self.api.create(outcomes.build_event(job, action, self.identity, self.now()), priority=Priority.LOW)
        except (client.ApiError, client.Unreachable) as error:
            if not isinstance(error, client.ApiError) or error.status != client.CONFLICT:  # one that says the same
                LOG.info("event %s of job %s: %s", action.reason, job.metadata.name, error)

    async def _together(self, job: ArcFaceTrainingJob, actions: Sequence[decided.Request]) -> list[ActionFailure]:
        """Take all actions at once; what failed of them."""
        outcomes = await asyncio.gather(*(self._outcome(job, action) for action in actions), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, ActionFailure)]

    async def _outcome(self, job: ArcFaceTrainingJob, action: decided.Request) -> ActionFailure | None:
        """Take an action; None where it is done."""
        try:
            await self._carry_out(job, action)
        except (client.ApiError, client.Unreachable, outcomes.Refused, outcomes.NotYet) as error:
            if isinstance(error, client.ApiError) and NAMESPACE_LEAVES in error.causes:
                raise outcomes.NamespaceLeaves(job.metadata.namespace) from None
            return outcomes.failure_of(job, action, error)
        return None

    def _carry_out(self, job: ArcFaceTrainingJob, action: decided.Request) -> Awaitable[None]:
        """One action."""
        match action:
            case decided.Apply(manifest):
                return self._apply(job, manifest)
            case decided.DryRunCreate(manifest):
                return self._create_dry(manifest)
            case decided.Create(manifest):
                return self._create(job, manifest)
            case decided.Annotate() | decided.WriteWorkloadStatus():
                return self._change(job.metadata.namespace, action)
            case decided.DeletePodGroup(group):
                return self._delete_pod_group(job, group)
            case decided.Delete() | decided.DeleteJob():
                return self._delete(*_target(job, action))

    async def _apply(self, job: ArcFaceTrainingJob, manifest: Manifest) -> None:
        """Create an object, or bring our own up to date; a namesake of somebody else is left alone.

        It is the answer of the write that counts, so that an object which goes in between is made anew.
        """
        if self.lacks(manifest) and (made := await self._unless_there(self.api.create(manifest))) is not None:
            self.changed(made)
            return
        path = client.path_of(manifest)
        found = await self.api.find(path)
        if found is not None:
            outcomes.check_owner(job, found)  # what an earlier job has left becomes this one's
            if "deletionTimestamp" in found["metadata"]:
                raise outcomes.NotYet(f"is being deleted{outcomes.finalizers(found)}")
            if (operations := outcomes.as_applied(found)) is not None:
                await self.api.edit(path, operations)
        self.changed(await self.api.apply(manifest, is_ours=found is not None))

    async def _create_dry(self, manifest: Manifest) -> None:
        """Ask whether an object would be accepted; one of its name that is there already is not looked at."""
        await self._unless_there(self.api.create(manifest, client.CreateMode.DRY_RUN))

    async def _unless_there(self, request: Awaitable[Answer]) -> Answer | None:
        """A creation: None where an object of the name is there already, whosever it is."""
        try:
            return await request
        except client.ApiError as error:
            if error.reason != ALREADY_EXISTS:
                raise
            return None

    async def _create(self, job: ArcFaceTrainingJob, manifest: Manifest) -> None:
        """Create an object; one of the same name that is ours is as good.

        A field that Kubernetes does not know is refused: it is a misspelt one of the user's template.
        """
        for _ in range(CREATE_TRIES):
            made = await self._unless_there(self.api.create(manifest, client.CreateMode.STRICT))
            if made is not None:
                self.changed(made)
                return
            if (found := await self.api.find(client.path_of(manifest))) is not None:
                await self._take_over(job, manifest, found)
                return
        raise outcomes.NotYet("is said to exist and is not there")

    async def _take_over(self, job: ArcFaceTrainingJob, manifest: Manifest, found: Manifest) -> None:
        """Count an object that stood in the way of a creation as made, if it is the same."""
        is_left_behind = outcomes.check_owner(job, found)
        is_other = not manifest["metadata"]["labels"].items() <= found["metadata"].get("labels", {}).items()
        if is_left_behind or is_other:
            await self._delete(client.path_of(manifest), found["metadata"]["uid"])
            why = "is an earlier job's" if is_left_behind else _otherness(manifest, found)
            raise outcomes.Refused(f"{why} and is replaced")
        self.changed(found)

    async def _delete(self, path: str, uid: str, grace_seconds: int | None = None) -> None:
        """Delete exactly this object, unless it is gone already."""
        await self._unless_gone(path, uid, self.api.delete(path, uid, grace_seconds))

    async def _delete_pod_group(self, job: ArcFaceTrainingJob, group: Manifest) -> None:
        """Delete the job's group unless it is gone, or somebody else's."""
        found = await self.api.find(client.path_of(group))
        if found is not None and observation.controller_of(found["metadata"]) == job.metadata.uid:
            await self._delete(client.path_of(group), found["metadata"]["uid"])

    def _change(self, namespace: str, action: Change) -> Awaitable[None]:
        """Merge into a pod, or into a Workload's status."""
        if isinstance(action, decided.Annotate):
            return self._annotate(namespace, action)
        return self._write_workload_status(namespace, action)

    async def _write_workload_status(self, namespace: str, action: decided.WriteWorkloadStatus) -> None:
        """Tell Kueue something unless it has changed the Workload meanwhile: the next look sees that."""
        path = f"{client.collection(KUEUE_VERSION, 'workloads', namespace)}/{action.name}/status"
        metadata = {"uid": action.uid, "resourceVersion": action.version}
        try:
            self.changed(await self.api.merge(path, {"metadata": metadata, "status": action.status}))
        except client.ApiError as error:
            if error.status not in {client.NOT_FOUND, client.CONFLICT}:
                raise

    async def _annotate(self, namespace: str, action: decided.Annotate) -> None:
        """Annotate a pod unless it is gone."""
        path = f"{client.collection('v1', 'pods', namespace)}/{action.name}"
        metadata = {"uid": action.uid, "annotations": dict(action.annotations)}
        answer = await self._unless_gone(path, action.uid, self.api.merge(path, {"metadata": metadata}))
        if answer is not None:
            self.changed(answer)

    async def _unless_gone(self, path: str, uid: str, request: Awaitable[Answer]) -> Answer | None:
        """A request about the object with a certain uid: None where that is gone, or another has its name by now."""
        try:
            return await request
        except client.ApiError as error:
            if error.status == client.NOT_FOUND:
                return None
            if error.status == client.CONFLICT and await self._is_another(path, uid):
                return None
            raise

    async def _is_another(self, path: str, uid: str) -> bool:
        """Whether an object is gone or replaced; of one that is not ours to read it is taken for granted."""
        try:
            found = await self.api.find(path)
        except client.ApiError:
            return True
        return found is None or bool(found["metadata"]["uid"] != uid)


def _target(job: ArcFaceTrainingJob, action: decided.Delete | decided.DeleteJob) -> tuple[str, str, int | None]:
    """Path and uid of what is to be deleted, and the time it has to end in."""
    namespace = job.metadata.namespace
    if isinstance(action, decided.DeleteJob):
        return client.JobRef(namespace, job.metadata.name).path, str(job.metadata.uid), None
    path = client.collection(RESOURCE_VERSIONS[action.resource], action.resource, namespace)
    return f"{path}/{action.name}", action.uid, action.grace_seconds


def _otherness(wanted: Manifest, found: Manifest) -> str:
    """What tells an object of the job from the one that is to be there in its name."""
    theirs, label = found["metadata"].get("labels", {}), pods.ATTEMPT_LABEL
    wish, attempt = wanted["metadata"]["labels"].get(label), theirs.get(label)
    if attempt is not None and wish is not None and attempt != wish:
        return f"is of attempt {attempt} and not of attempt {wish}"
    return "has lost its labels"
