"""Carrying out a plan's actions, each of which may have been carried out before."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TypeVar

from arcface_api.contract.pod_environment import MANAGER
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.observation import controller_of
from arcface_operator.decision.plan import (
    Action,
    Annotate,
    Announce,
    Apply,
    Create,
    Delete,
    DeleteJob,
    Dissolve,
    Rehearse,
)
from arcface_operator.kubernetes.client import (
    CONFLICT,
    NOT_FOUND,
    REFUSED,
    Api,
    ApiError,
    collection,
    collection_of,
    job_path,
)
from arcface_operator.manifests.metadata import Manifest

RESOURCE_VERSIONS = {"pods": "v1", "jobs": "batch/v1"}
MESSAGE_LIMIT = 1024
NAMESPACE_LEAVES = "NamespaceTerminating"
ALREADY_EXISTS = "AlreadyExists"

Unordered = Delete | Annotate | Dissolve | DeleteJob | Announce
"""Actions that may be taken all at once."""
Answer = TypeVar("Answer")


class Refused(Exception):  # noqa: N818 - reads as what it says
    """The API server does not accept an object of the job, or its name belongs to somebody else."""


class NamespaceLeaves(Exception):  # noqa: N818
    """The namespace is being deleted and takes nothing new; the job goes with it."""


class Actor:
    """Acts on behalf of one operator."""

    def __init__(
        self, api: Api, identity: str, now: Callable[[], datetime], changed: Callable[[Manifest], None]
    ) -> None:
        self.api = api
        self.changed = changed
        self.identity = identity
        self.now = now

    async def prepare(self, job: ArcFaceTrainingJob, actions: tuple[Action, ...]) -> None:
        """Apply the objects that pods need, and rehearse those that come later; once more, or in vain, does no harm.

        Raises:
            Refused: where the API server will not have an object.
        """
        await together(
            self.apply(job, action.manifest) if isinstance(action, Apply) else self.rehearse(action.manifest)
            for action in actions
            if isinstance(action, Apply | Rehearse)
        )

    async def act(self, job: ArcFaceTrainingJob, actions: tuple[Action, ...], *, is_careful: bool) -> None:
        """Carry out all other actions; carefully: one creation before the others, which may be refused again.

        Raises:
            Refused: where the API server will not have an object.
        """
        creations = [action for action in actions if isinstance(action, Create)]
        if is_careful:
            await together(self.carry_out(job, action) for action in creations[:1])
            creations = creations[1:]
        # Events can wait for pods, and are told only of what has been done.
        await together(self.carry_out(job, action) for action in creations)
        await together(self.carry_out(job, action) for action in actions if isinstance(action, Unordered))

    def carry_out(self, job: ArcFaceTrainingJob, action: Create | Unordered) -> Awaitable[None]:
        """One action."""
        namespace = job.metadata.namespace
        match action:
            case Create(manifest):
                return self.create(job, manifest)
            case Delete():
                return self.delete(namespace, action)
            case Annotate():
                return self.annotate(namespace, action)
            case Dissolve(group):
                return self.dissolve(job, group)
            case DeleteJob():
                path = job_path(namespace, job.metadata.name)
                return self.settled(self.api.delete(path, str(job.metadata.uid)))
            case Announce():
                return self.announce(job, action)

    async def apply(self, job: ArcFaceTrainingJob, manifest: Manifest) -> None:
        """Create an object, or bring our own up to date; a namesake of somebody else is left alone."""
        try:
            await self.api.create(manifest)
        except ApiError as error:
            if await self.own_namesake(job, manifest, error) is not None:
                await self.patch(manifest)

    async def rehearse(self, manifest: Manifest) -> None:
        """Ask whether an object would be accepted; one of its name that is there already is not looked at."""
        try:
            await self.api.create(manifest, is_strict=True, is_dry=True)
        except ApiError as error:
            if error.status != CONFLICT:
                raise refusal(manifest, error) from None

    async def patch(self, manifest: Manifest) -> None:
        """Server-side apply."""
        try:
            await self.api.apply(manifest)
        except ApiError as error:
            raise refusal(manifest, error) from None

    async def create(self, job: ArcFaceTrainingJob, manifest: Manifest) -> None:
        """Create an object; one of the same name that is ours is as good.

        A field that Kubernetes does not know is refused: it is a misspelt one of the user's template.
        """
        try:
            self.changed(await self.api.create(manifest, is_strict=True))
        except ApiError as error:
            found = await self.own_namesake(job, manifest, error)
            if found is None:
                return  # it has just gone: the next decision sees that
            if not manifest["metadata"]["labels"].items() <= found["metadata"].get("labels", {}).items():
                await self.settled(self.api.delete(path_of(manifest), found["metadata"]["uid"]))
                raise Refused(f"{called(manifest)} has lost its labels and is replaced") from None
            self.changed(found)

    async def own_namesake(self, job: ArcFaceTrainingJob, manifest: Manifest, error: ApiError) -> Manifest | None:
        """The object that stood in the way of a creation, if it belongs to the job; None where it is gone by now.

        Raises:
            Refused: where it is somebody else's, or something else stood in the way.
        """
        if error.status != CONFLICT or error.reason != ALREADY_EXISTS:
            raise refusal(manifest, error) from None
        found = await self.api.find(path_of(manifest))
        if found is not None and job.metadata.uid != controller_of(found["metadata"]):
            raise Refused(f"{called(manifest)} exists and is not this job's; remove it") from None
        return found

    async def delete(self, namespace: str, action: Delete) -> None:
        """Delete an object unless it is gone already."""
        path = f"{collection(RESOURCE_VERSIONS[action.resource], action.resource, namespace)}/{action.name}"
        await self.settled(self.api.delete(path, action.uid, 0 if action.is_forced else None))

    async def exists(self, manifest: Manifest) -> bool:
        """Whether there is an object of this name."""
        return await self.api.find(path_of(manifest)) is not None

    async def dissolve(self, job: ArcFaceTrainingJob, group: Manifest) -> None:
        """Delete the job's group unless it is gone, or somebody else's."""
        found = await self.api.find(path_of(group))
        if found is not None and controller_of(found["metadata"]) == job.metadata.uid:
            await self.settled(self.api.delete(path_of(group), found["metadata"]["uid"]))

    async def annotate(self, namespace: str, action: Annotate) -> None:
        """Annotate a pod unless it is gone."""
        path = f"{collection('v1', 'pods', namespace)}/{action.name}"
        metadata = {"uid": action.uid, "annotations": dict(action.annotations)}
        answer = await self.settled(self.api.merge(path, {"metadata": metadata}))
        if answer is not None:
            self.changed(answer)

    async def settled(self, request: Awaitable[Answer]) -> Answer | None:
        """A request about an object with a certain uid, which may be gone or replaced: None, then."""
        try:
            return await request
        except ApiError as error:
            if error.status not in {NOT_FOUND, CONFLICT}:
                raise
            return None

    async def announce(self, job: ArcFaceTrainingJob, action: Announce) -> None:
        """Write an event; one that says the same again is counted as done."""
        try:
            await self.api.create(event(job, action, self.identity, self.now()), is_patient=True)
        except ApiError as error:
            # Events help people; no job fails for want of one (its namespace may be going away).
            if error.status not in {CONFLICT, NOT_FOUND, *REFUSED}:
                raise


async def together(requests: Iterable[Awaitable[None]]) -> None:
    """Make all requests, then raise the first error."""
    for outcome in await asyncio.gather(*requests, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def refusal(manifest: Manifest, error: ApiError) -> Exception:
    """What an error on writing an object means."""
    if NAMESPACE_LEAVES in error.causes:
        return NamespaceLeaves(manifest["metadata"]["namespace"])
    return Refused(f"{called(manifest)}: {error.message}") if error.status in REFUSED else error


def path_of(manifest: Manifest) -> str:
    """Path of an object."""
    return f"{collection_of(manifest)}/{manifest['metadata']['name']}"


def called(manifest: Manifest) -> str:
    """Kind and name."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def event(job: ArcFaceTrainingJob, action: Announce, identity: str, now: datetime) -> Manifest:
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
