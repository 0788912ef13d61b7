"""Pieces that the rank pods and the evaluator's pod have in common."""

from arcface_api.contract import pod_environment as pods
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ResourceRequirements
from arcface_operator.manifests.gang import Gang, build_scheduling
from arcface_operator.manifests.metadata import Manifest, config_name
from arcface_operator.settings import Settings


def default_template(container: str, job: ArcFaceTrainingJob, settings: Settings) -> Manifest:
    """What a user's template may change."""
    return {"spec": {**_default_pod_spec(job, settings), "containers": [_default_container(container, job, settings)]}}


def _default_pod_spec(job: ArcFaceTrainingJob, settings: Settings) -> Manifest:
    """The time to stop in, the restricted security profile, the driver."""
    volumes = _driver_volumes(job, settings)
    return {
        **({"volumes": volumes} if volumes else {}),
        "terminationGracePeriodSeconds": settings.termination_grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            **({"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000} if settings.fixed_user else {}),
            # A recursive change of owner on millions of images would take longer than some trainings.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _default_container(name: str, job: ArcFaceTrainingJob, settings: Settings) -> Manifest:
    """The driver and no privileges."""
    mounts = [read_only(volume["name"], volume["hostPath"]["path"]) for volume in _driver_volumes(job, settings)]
    return {
        "name": name,
        **({"volumeMounts": mounts} if mounts else {}),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _driver_volumes(job: ArcFaceTrainingJob, settings: Settings) -> list[Manifest]:
    """Folders and files of the node that its devices' driver consists of.

    Each says which of the two it is: of a path that is not there containerd would make a folder on the node.
    """
    if job.spec.workers.accelerator != "ascend":
        return []
    kinds = {**dict.fromkeys(settings.driver_mounts, "Directory"), **dict.fromkeys(settings.driver_files, "File")}
    return [
        {"name": f"driver-{number}", "hostPath": {"path": path, "type": kind}}
        for number, (path, kind) in enumerate(kinds.items())
    ]


def pod_basics(job: ArcFaceTrainingJob, gang: Gang, settings: Settings) -> Manifest:
    """Fields of the pod's spec that come straight from the job's."""
    spec = job.spec
    basics: Manifest = {"restartPolicy": "Never", "automountServiceAccountToken": False}
    if spec.image_pull_secrets:
        basics["imagePullSecrets"] = [{"name": secret.name} for secret in spec.image_pull_secrets]
    return {**basics, **build_scheduling(job, gang, settings)}


def container_basics(job: ArcFaceTrainingJob, settings: Settings) -> Manifest:
    """Image and the way the container reports its end."""
    basics: Manifest = {
        "image": job.spec.image or settings.trainer_image,
        "terminationMessagePath": pods.TERMINATION_LOG,
        # Where the process dies before it reports, the last lines of its log say why.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if job.spec.image_pull_policy is not None:
        basics["imagePullPolicy"] = job.spec.image_pull_policy
    return basics


def device_resources(job: ArcFaceTrainingJob, asked: ResourceRequirements | None, devices: int) -> Manifest:
    """Resources of a container: what the user asked for and, on Ascend, its devices."""
    resources: Manifest = {} if asked is None else asked.model_dump(exclude_none=True)
    if job.spec.workers.accelerator == "ascend":
        resources["limits"] = {**resources.get("limits", {}), job.spec.workers.device_resource: devices}
    return {"resources": resources} if resources else {}


def own_name_and_address() -> list[Manifest]:
    """Variables that the kubelet fills in."""
    fields = {pods.POD_NAME: "metadata.name", pods.POD_IP: "status.podIP"}
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}} for name, field in fields.items()]


def own_origin(job: ArcFaceTrainingJob, attempt: int) -> list[Manifest]:
    """Variables that tell a pod of which job and attempt it is."""
    origin = pods.RankIdentity(attempt=attempt, job_uid=job.metadata.uid).origin()
    return [{"name": name, "value": value} for name, value in origin.items()]


def config_volume(job: ArcFaceTrainingJob) -> Manifest:
    """Volume with the run configuration."""
    return {"name": "config", "configMap": {"name": config_name(job.metadata.name)}}


def claim_volume(name: str, claim: str) -> Manifest:
    """Volume of a claim; whether the pod may write follows from its mounts (`claim_access`)."""
    return {"name": name, "persistentVolumeClaim": {"claimName": claim}}


def shared_memory_volume() -> Manifest:
    """Room for batches between processes: a container's default /dev/shm has 64 MiB."""
    return {"name": "shared-memory", "emptyDir": {"medium": "Memory"}}


def read_only(name: str, path: str) -> Manifest:
    """Mount that the container may not write to."""
    return {"name": name, "mountPath": path, "readOnly": True}


def writable(name: str, path: str) -> Manifest:
    """Mount that the container may write to."""
    return {"name": name, "mountPath": path}
