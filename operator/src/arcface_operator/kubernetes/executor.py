"""Carrying out a plan's actions, each of which may have been carried out before."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TypeVar

from arcface_api.contract.pod_environment import MANAGER
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision import plan as decided
from arcface_operator.decision.observation import controller_of
from arcface_operator.kubernetes import client
from arcface_operator.kubernetes.priority_semaphore import Priority
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.workload import KUEUE_VERSION

RESOURCE_VERSIONS = {"pods": "v1", "jobs": "batch/v1", "workloads": KUEUE_VERSION}
MESSAGE_LIMIT = 1024
NAMESPACE_LEAVES = "NamespaceTerminating"
ALREADY_EXISTS = "AlreadyExists"

Unordered = (
    decided.Delete
    | decided.Annotate
    | decided.DeletePodGroup
    | decided.WriteWorkloadStatus
    | decided.DeleteJob
    | decided.EmitEvent
)
"""Actions that may be taken all at once."""
Answer = TypeVar("Answer")


class Refused(Exception):  # noqa: N818 - reads as what it says
    """The API server does not accept an object of the job, or its name belongs to somebody else."""


class NamespaceLeaves(Exception):  # noqa: N818
    """The namespace is being deleted and takes nothing new; the job goes with it."""


class ActionExecutor:
    """Acts on behalf of one operator."""

    def __init__(
        self, api: client.Api, identity: str, now: Callable[[], datetime], changed: Callable[[Manifest], None]
    ) -> None:
        self.api = api
        self.changed = changed
        self.identity = identity
        self.now = now

    async def prepare(self, job: ArcFaceTrainingJob, plan: decided.Plan) -> None:
        """Apply the objects that pods need, and try those that come later; once more, or in vain, does no harm.

        Raises:
            Refused: where the API server will not have an object.
        """
        await _together(
            self._apply(job, action.manifest)
            if isinstance(action, decided.Apply)
            else self._create_dry(action.manifest)
            for action in plan.actions
            if isinstance(action, decided.Apply | decided.DryRunCreate)
        )

    async def act(self, job: ArcFaceTrainingJob, plan: decided.Plan) -> None:
        """Carry out all other actions.

        Raises:
            Refused: where the API server will not have an object.
        """
        creations = [action for action in plan.actions if isinstance(action, decided.Create)]
        if plan.rollout is decided.Rollout.ONE_FIRST:
            await _together(self._carry_out(job, action) for action in creations[:1])
            creations = creations[1:]
        # Events can wait for pods, and are told only of what has been done.
        await _together(self._carry_out(job, action) for action in creations)
        await _together(self._carry_out(job, action) for action in plan.actions if isinstance(action, Unordered))

    async def emit(self, job: ArcFaceTrainingJob, action: decided.EmitEvent) -> None:
        """Write an event; one that says the same again is counted as done."""
        try:
            await self.api.create(_event(job, action, self.identity, self.now()), priority=Priority.LOW)
        except client.ApiError as error:
            # Events help people; no job fails for want of one (its namespace may be going away).
            if error.status not in {client.CONFLICT, client.NOT_FOUND, *client.REFUSED}:
                raise

    def _carry_out(self, job: ArcFaceTrainingJob, action: decided.Create | Unordered) -> Awaitable[None]:
        """One action."""
        namespace = job.metadata.namespace
        match action:
            case decided.Create(manifest):
                request = self._create(job, manifest)
            case decided.Delete():
                request = self._delete(namespace, action)
            case decided.Annotate():
                request = self._annotate(namespace, action)
            case decided.DeletePodGroup(group):
                request = self._delete_pod_group(job, group)
            case decided.WriteWorkloadStatus():
                request = self._write_workload_status(namespace, action)
            case decided.DeleteJob():
                path = client.JobRef(namespace, job.metadata.name).path
                request = _unless_gone(self.api.delete(path, str(job.metadata.uid)))
            case decided.EmitEvent():
                request = self.emit(job, action)
        return request

    async def _apply(self, job: ArcFaceTrainingJob, manifest: Manifest) -> None:
        """Create an object, or bring our own up to date; a namesake of somebody else is left alone."""
        try:
            self.changed(await self.api.create(manifest))
        except client.ApiError as error:
            found = await self._own_namesake(job, manifest, error)
            if found is not None and "deletionTimestamp" in found["metadata"]:
                raise Refused(_still_leaving(manifest, found)) from None
            if found is not None:
                await self._patch(manifest)

    async def _create_dry(self, manifest: Manifest) -> None:
        """Ask whether an object would be accepted; one of its name that is there already is not looked at."""
        try:
            await self.api.create(manifest, client.CreateMode.DRY_RUN)
        except client.ApiError as error:
            if error.status != client.CONFLICT:
                raise _refusal(manifest, error) from None

    async def _patch(self, manifest: Manifest) -> None:
        """Server-side apply."""
        try:
            self.changed(await self.api.apply(manifest))
        except client.ApiError as error:
            raise _refusal(manifest, error) from None

    async def _create(self, job: ArcFaceTrainingJob, manifest: Manifest) -> None:
        """Create an object; one of the same name that is ours is as good.

        A field that Kubernetes does not know is refused: it is a misspelt one of the user's template.
        """
        try:
            self.changed(await self.api.create(manifest, client.CreateMode.STRICT))
        except client.ApiError as error:
            found = await self._own_namesake(job, manifest, error)
            if found is None:
                return  # it has just gone: the next decision sees that
            if not manifest["metadata"]["labels"].items() <= found["metadata"].get("labels", {}).items():
                await _unless_gone(self.api.delete(client.path_of(manifest), found["metadata"]["uid"]))
                raise Refused(f"{_kind_and_name(manifest)} has lost its labels and is replaced") from None
            self.changed(found)

    async def _own_namesake(
        self, job: ArcFaceTrainingJob, manifest: Manifest, error: client.ApiError
    ) -> Manifest | None:
        """The object that stood in the way of a creation, if it belongs to the job; None where it is gone by now.

        Raises:
            Refused: where it is somebody else's, or something else stood in the way.
        """
        if error.status != client.CONFLICT or error.reason != ALREADY_EXISTS:
            raise _refusal(manifest, error) from None
        found = await self.api.find(client.path_of(manifest))
        if found is not None and job.metadata.uid != controller_of(found["metadata"]):
            raise Refused(f"{_kind_and_name(manifest)} exists and is not this job's; remove it") from None
        return found

    async def _delete(self, namespace: str, action: decided.Delete) -> None:
        """Delete an object unless it is gone already."""
        path = f"{client.collection(RESOURCE_VERSIONS[action.resource], action.resource, namespace)}/{action.name}"
        await _unless_gone(self.api.delete(path, action.uid, action.grace_seconds))

    async def _delete_pod_group(self, job: ArcFaceTrainingJob, group: Manifest) -> None:
        """Delete the job's group unless it is gone, or somebody else's."""
        found = await self.api.find(client.path_of(group))
        if found is not None and controller_of(found["metadata"]) == job.metadata.uid:
            await _unless_gone(self.api.delete(client.path_of(group), found["metadata"]["uid"]))

    async def _write_workload_status(self, namespace: str, action: decided.WriteWorkloadStatus) -> None:
        """Tell Kueue something unless it has changed the Workload meanwhile: the next look sees that."""
        path = f"{client.collection(KUEUE_VERSION, 'workloads', namespace)}/{action.name}/status"
        metadata = {"uid": action.uid, "resourceVersion": action.version}
        answer = await _unless_gone(self.api.merge(path, {"metadata": metadata, "status": action.status}))
        if answer is not None:
            self.changed(answer)

    async def _annotate(self, namespace: str, action: decided.Annotate) -> None:
        """Annotate a pod unless it is gone."""
        path = f"{client.collection('v1', 'pods', namespace)}/{action.name}"
        metadata = {"uid": action.uid, "annotations": dict(action.annotations)}
        answer = await _unless_gone(self.api.merge(path, {"metadata": metadata}))
        if answer is not None:
            self.changed(answer)


async def _unless_gone(request: Awaitable[Answer]) -> Answer | None:
    """A request about an object with a certain uid, which may be gone or replaced: None, then."""
    try:
        return await request
    except client.ApiError as error:
        if error.status not in {client.NOT_FOUND, client.CONFLICT}:
            raise
        return None


async def _together(requests: Iterable[Awaitable[None]]) -> None:
    """Make all requests, then raise the first error."""
    for outcome in await asyncio.gather(*requests, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _refusal(manifest: Manifest, error: client.ApiError) -> Exception:
    """What an error on writing an object means."""
    if NAMESPACE_LEAVES in error.causes:
        return NamespaceLeaves(manifest["metadata"]["namespace"])
    return Refused(f"{_kind_and_name(manifest)}: {error.message}") if error.status in client.REFUSED else error


def _kind_and_name(manifest: Manifest) -> str:
    """What an object is called in messages."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _still_leaving(manifest: Manifest, found: Manifest) -> str:
    """Why an object cannot be made yet."""
    keepers = found["metadata"].get("finalizers")
    kept = f", finalizer {', '.join(keepers)} keeps it; whoever set that must take it away" if keepers else ""
    return f"{_kind_and_name(manifest)} of before is still to go{kept}"


def _event(job: ArcFaceTrainingJob, action: decided.EmitEvent, identity: str, now: datetime) -> Manifest:
    """An event on a job, named after what it says."""
    metadata, stamp = job.metadata, now.strftime("%Y-%m-%dT%H:%M:%SZ")
    content = f"{metadata.uid}{job.status.attempt}{action.reason}{action.message}".encode()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata.name}.{hashlib.sha256(content).hexdigest()[:16]}",
            "namespace": metadata.namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
        },
        "type": action.type,
        "reason": action.reason,
        "message": action.message[:MESSAGE_LIMIT],
        "source": {"component": MANAGER, "host": identity},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
