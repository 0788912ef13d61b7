"""What comes of actions: whose an object is, what an error means for the job, and the events that tell of it."""

import hashlib
from datetime import datetime

from arcface_api.contract.pod_environment import MANAGER
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision import plan as decided
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.kubernetes import client
from arcface_operator.manifests.metadata import Manifest

EVENT_MESSAGE_LIMIT = 1024
KINDS = {"pods": "Pod", "workloads": "Workload"}


class Refused(Exception):  # noqa: N818 - reads as what it says
    """The API server does not accept an object of the job, or its name belongs to somebody else."""


class NotYet(Exception):  # noqa: N818
    """Something else has to go first."""


class NamespaceLeaves(Exception):  # noqa: N818
    """The namespace is being deleted and takes nothing new; the job goes with it."""


def check_owner(job: ArcFaceTrainingJob, found: Manifest) -> bool:
    """An object with the name of one of a job's must be the job's, or was left by an earlier one of its name.

    Returns:
        Whether it was left behind: nobody has asked it to go, and it is older than the job.

    Raises:
        NotYet: where it is another job's of this name that is being deleted, or may be younger.
        Refused: where it is somebody else's.
    """
    metadata = found["metadata"]
    owners = (item for item in metadata.get("ownerReferences", []) if item.get("controller"))
    owner: Manifest = next(owners, {})
    if owner.get("uid") == job.metadata.uid:
        return False
    if (owner.get("kind"), owner.get("name")) != (KIND, job.metadata.name):
        raise Refused("exists and is not this job's; remove it")
    since = job.metadata.creation_timestamp
    is_older = since is not None and datetime.fromisoformat(metadata["creationTimestamp"]) < since
    if not is_older or "deletionTimestamp" in metadata:
        raise NotYet(f"of another job of this name is still to go{finalizers(found)}")
    return True


def as_applied(found: Manifest) -> client.Operations | None:
    """What makes an object that we have created one that we have applied; None where it is one.

    The fields of a creation have an owner of their own, from whom no apply takes what it leaves out. The patch is that
    of client-go's `csaupgrade`: it comes to nothing (409) where somebody has changed the object meanwhile.
    """
    metadata = found["metadata"]
    fields = metadata.get("managedFields", [])
    ours = [entry for entry in fields if entry["manager"] == client.FIELD_MANAGER and not entry.get("subresource")]
    if [entry["operation"] for entry in ours] != ["Update"]:
        return None
    applied = [{**entry, "operation": "Apply"} if entry in ours else entry for entry in fields]
    changes = {"managedFields": applied, "resourceVersion": metadata["resourceVersion"]}
    return [{"op": "replace", "path": f"/metadata/{name}", "value": value} for name, value in changes.items()]


def finalizers(found: Manifest) -> str:
    """What an object waits for that is to go."""
    names = found["metadata"].get("finalizers", [])
    return f", for which it waits on its finalizers {', '.join(names)}" if names else ""


def failure_to_read(what: str, error: client.ApiError | client.Unreachable) -> ActionFailure:
    """What it means for a job that a part of what is to be known of it cannot be read."""
    if isinstance(error, client.Unreachable):
        return ActionFailure(condition="Ready", message=f"reading {what}: {error}", is_lasting=False)
    return ActionFailure(
        condition="Ready",
        message=f"reading {what}: {error.message}",
        is_lasting=error.status in client.REFUSED,
        retry_after_seconds=error.retry_after_seconds,
    )


def failure_of(job: ArcFaceTrainingJob, action: decided.Request, error: Exception) -> ActionFailure:
    """What it means that an action failed."""
    status = error.status if isinstance(error, client.ApiError) else None
    is_new = isinstance(action, decided.Apply | decided.DryRunCreate | decided.Create)
    is_unknown = is_new and status == client.NOT_FOUND  # its kind, or its namespace
    words = error.message if isinstance(error, client.ApiError) else str(error)
    condition, purpose = decided.family_of(action)
    joint = " " if isinstance(error, Refused | NotYet) else ": "
    return ActionFailure(
        condition=condition,
        purpose=purpose,
        message=f"{_object_of(job, action)}{joint}{words}",
        is_lasting=isinstance(error, Refused) or status in client.REFUSED or is_unknown,
        retry_after_seconds=error.retry_after_seconds if isinstance(error, client.ApiError) else None,
    )


def _object_of(job: ArcFaceTrainingJob, action: decided.Request) -> str:
    """What an action is about, as messages call it."""
    match action:
        case decided.Apply(manifest) | decided.DryRunCreate(manifest) | decided.Create(manifest):
            return f"{manifest['kind']} {manifest['metadata']['name']}"
        case decided.DeletePodGroup(group):
            return f"removal of {group['kind']} {group['metadata']['name']}"
        case decided.DeleteJob():
            return f"removal of {KIND} {job.metadata.name}"
        case decided.Delete():
            return f"removal of {KINDS[action.resource]} {action.name}"
        case decided.Annotate():
            return f"annotation of Pod {action.name}"
        case decided.WriteWorkloadStatus():
            return f"status of Workload {action.name}"


def build_event(job: ArcFaceTrainingJob, action: decided.EmitEvent, identity: str, now: datetime) -> Manifest:
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
        "message": action.message[:EVENT_MESSAGE_LIMIT],
        "source": {"component": MANAGER, "host": identity},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
