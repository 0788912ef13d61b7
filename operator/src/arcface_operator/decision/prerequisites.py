"""What must be there before anything is taken: claims that fit, nodes with the devices, a gang scheduler."""

from collections.abc import Iterator
from dataclasses import dataclass

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.observation import ClaimView, Prerequisites
from arcface_operator.manifests.worker_pod import verified_claim

NATIVE_REMEDY = "have its administrator turn on GenericWorkload and GangScheduling (Kubernetes 1.36)"
READ_BY_ALL = {"ReadWriteMany", "ReadOnlyMany"}
ONE_POD = {"ReadWriteOncePod"}
WRITTEN = "spec.checkpoint.claimName"
"""The field of the only claim that pods write to."""


@dataclass(frozen=True)
class UnmetPrerequisite:
    """Something that is missing and may appear while the job waits."""

    reason: str
    message: str


def unmet_prerequisites(job: ArcFaceTrainingJob, around: Prerequisites) -> list[UnmetPrerequisite]:
    """All that keeps the job from starting."""
    return [*_unmet_claims(job, around), *_unmet_devices(job, around), *_unmet_gang(job, around)]


def claims_of(job: ArcFaceTrainingJob) -> dict[str, list[str]]:
    """Names of the claims that a job mounts, with the fields that name them."""
    spec, found = job.spec, dict[str, list[str]]()
    named = [("spec.data.claimName", spec.data.claim_name), (WRITTEN, spec.checkpoint.claim_name)]
    if spec.model.init_from is not None:
        named.append(("spec.model.initFrom.claimName", spec.model.init_from.claim_name))
    if spec.evaluation is not None:
        named.append(("spec.evaluation.claimName", spec.evaluation.claim_name))
    for field, name in named:
        found.setdefault(name, []).append(field)
    return found


def _unmet_claims(job: ArcFaceTrainingJob, around: Prerequisites) -> Iterator[UnmetPrerequisite]:
    """Claims that are absent, not bound, or mountable in too few places."""
    for name, fields in claims_of(job).items():
        claim, where = around.claims.get(name), " and ".join(fields)
        if claim is None:
            yield UnmetPrerequisite("ClaimMissing", f"{where}: there is no PersistentVolumeClaim {name!r}; create it")
        elif claim.phase == "Lost" or (claim.phase != "Bound" and not claim.waits_for_pod):
            yield UnmetPrerequisite("ClaimNotBound", f"{where}: claim {name!r} is {claim.phase}; give it a volume")
        elif why := _misfit(job, claim, fields, around):
            yield UnmetPrerequisite("ClaimAccess", f"{where}: claim {name!r} {why}")


def _misfit(job: ArcFaceTrainingJob, claim: ClaimView, fields: list[str], around: Prerequisites) -> str | None:
    """Why a claim's access modes do not do for the pods that mount it: every rank's, or the evaluator's alone."""
    modes, is_written = set(claim.access_modes), WRITTEN in fields
    if is_written and modes == {"ReadOnlyMany"}:
        return "can only be read; checkpoints need ReadWriteMany, or ReadWriteOnce on one node"
    is_evaluators_alone = fields == ["spec.evaluation.claimName"] and verified_claim(job) is None
    if job.spec.workers.replicas == 1 or is_evaluators_alone:
        return None
    if modes <= ONE_POD:
        return f"is for one pod (ReadWriteOncePod), the job has {job.spec.workers.replicas}; use ReadWriteMany"
    shared = {"ReadWriteMany"} if is_written else READ_BY_ALL
    if not modes & shared and _needs_several_nodes(job, around):
        return f"can be mounted on one node only ({', '.join(sorted(modes))}), the job's pods need several nodes"
    return None


def _needs_several_nodes(job: ArcFaceTrainingJob, around: Prerequisites) -> bool:
    """Whether no single node has all the devices."""
    workers = job.spec.workers
    devices = around.devices
    return workers.accelerator == "ascend" and devices is not None and workers.world_size > max(devices, default=0)


def _unmet_devices(job: ArcFaceTrainingJob, around: Prerequisites) -> Iterator[UnmetPrerequisite]:
    """Whether the devices have a name in this cluster, and some node offers those of a pod at all."""
    workers = job.spec.workers
    if workers.accelerator == "ascend" and "/" not in workers.device_resource:
        sentence = f"spec.workers.resourceName: {workers.device_resource} is no device class of this operator"
        yield UnmetPrerequisite("DeviceClassMissing", f"{sentence}; ask its administrator, or name a resource")
        return
    if workers.accelerator != "ascend" or around.devices is None:
        return
    most = max(around.devices, default=0)
    if most == 0:
        message = f"spec.workers.resourceName: no node offers {workers.device_resource}; is the device plugin running?"
        yield UnmetPrerequisite("DevicesMissing", message)
    elif most < workers.devices_per_worker:
        message = (
            f"spec.workers.devicesPerWorker: {workers.devices_per_worker}, the largest node has {most} "
            f"{workers.device_resource}; use more replicas with fewer devices"
        )
        yield UnmetPrerequisite("DevicesMissing", message)


def _unmet_gang(job: ArcFaceTrainingJob, around: Prerequisites) -> Iterator[UnmetPrerequisite]:
    """Whether the gang scheduler is installed."""
    gang = job.spec.scheduling.gang
    remedy = NATIVE_REMEDY if gang == "native" else f"install {gang}"
    for kind in around.missing_kinds:
        yield UnmetPrerequisite(
            "GangSchedulerMissing",
            f"spec.scheduling.gang: {gang} needs the resource {kind}, which this cluster does not have; {remedy}",
        )
