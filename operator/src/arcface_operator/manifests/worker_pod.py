"""Pod `<job>-worker-<i>`: one launcher with a rank for each of the pod's devices."""

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.config_map import CONFIG_KEY
from arcface_operator.manifests.gang import gang_metadata, gang_scheduler
from arcface_operator.manifests.metadata import (
    ATTEMPT_LABEL,
    RANK_INDEX_LABEL,
    RENDEZVOUS_PORT,
    Manifest,
    build_metadata,
    rank_table_name,
    worker_name,
)
from arcface_operator.manifests.pod_parts import (
    CONFIG_MOUNT,
    TERMINATION_LOG,
    claim_volume,
    config_volume,
    container_basics,
    default_container,
    default_pod_spec,
    device_resources,
    pod_basics,
    read_only,
    shared_memory_volume,
    writable,
)
from arcface_operator.manifests.pod_template import merged, with_template
from arcface_operator.manifests.rank_table_map import FAMILY_LABEL
from arcface_operator.manifests.run_config import CHECKPOINT_MOUNT, DATA_MOUNT, EVALUATION_MOUNT
from arcface_operator.manifests.service import ports
from arcface_operator.settings import Settings

CONTAINER = "trainer"
RENDEZVOUS_MOUNT = "/etc/arcface-rendezvous"
ADDRESS_FILE = "scheduler-address"
RANK_TABLE_MOUNT = "/user/serverid/devindex/config"
RANK_TABLE_ANNOTATION = "arcface.io/rank-table"
"""Hash of the rank table that the pod's kubelet has been told to show."""
RANK_INDEX_ANNOTATION = "hccl/rankIndex"
SCHEDULER_ANNOTATION = "arcface.io/scheduler-address"
"""Address that the ranks meet at; the operator adds it once pod 0 has one, and no name has to be resolved."""


def build_worker_pod(job: ArcFaceTrainingJob, index: int, attempt: int, settings: Settings) -> Manifest:
    """Pod `index` of the gang's given attempt."""
    workers, name = job.spec.workers, worker_name(job.metadata.name, index)
    metadata = merged(build_metadata(job, name, "worker"), gang_metadata(job, attempt), "metadata")
    metadata["labels"] |= {RANK_INDEX_LABEL: str(index), ATTEMPT_LABEL: str(attempt)}
    if has_rank_table(job):
        metadata["labels"][FAMILY_LABEL] = settings.chip_family
        metadata["annotations"] = {**metadata.get("annotations", {}), RANK_INDEX_ANNOTATION: str(index)}
    pod_spec = {
        **pod_basics(job),
        "hostname": name,
        "subdomain": job.metadata.name,
        "containers": [build_container(job, index, settings)],
        "volumes": build_volumes(job),
    }
    if (scheduler := gang_scheduler(job, settings)) is not None:
        pod_spec["schedulerName"] = scheduler
    template = with_template(
        {"spec": {**default_pod_spec(job, settings), "containers": [default_container(CONTAINER, job, settings)]}},
        workers.template,
        {"metadata": metadata, "spec": pod_spec},
        "spec.workers.template",
    )
    return {"apiVersion": "v1", "kind": "Pod", **template}


def build_container(job: ArcFaceTrainingJob, index: int, settings: Settings) -> Manifest:
    """The container that trains."""
    workers = job.spec.workers
    return {
        "name": CONTAINER,
        **container_basics(job, settings),
        "command": ["arcface", "train"],
        "args": ["--config", f"{CONFIG_MOUNT}/{CONFIG_KEY}", "--termination-log", TERMINATION_LOG],
        "env": build_env(job, index),
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in ports(workers.devices_per_worker).items()
        ],
        **device_resources(job, workers.resources, workers.devices_per_worker),
        "volumeMounts": build_mounts(job),
    }


def build_env(job: ArcFaceTrainingJob, index: int) -> list[Manifest]:
    """Who the pod is and where the ranks meet; every rank's own number is derived from these in the pod."""
    workers, name = job.spec.workers, job.metadata.name
    first_rank, world_size = str(index * workers.devices_per_worker), str(workers.world_size)
    values = {
        "MS_ROLE": "MS_WORKER",
        "MS_SCHED_HOST": f"{worker_name(name, 0)}.{name}",
        "MS_SCHED_PORT": str(RENDEZVOUS_PORT),
        "MS_WORKER_NUM": world_size,
        "MS_NODE_ID": first_rank,
    }
    if meets_at_address(job):
        values["ARCFACE_SCHEDULER_FILE"] = f"{RENDEZVOUS_MOUNT}/{ADDRESS_FILE}"
    if has_rank_table(job):
        values |= {
            "RANK_TABLE_FILE": f"{RANK_TABLE_MOUNT}/hccl.json",
            "RANK_SIZE": world_size,
            "RANK_ID": first_rank,
        }
    return [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *({"name": key, "value": value} for key, value in values.items()),
    ]


def build_volumes(job: ArcFaceTrainingJob) -> list[Manifest]:
    """Volumes of a rank pod."""
    volumes = [
        config_volume(job),
        claim_volume("data", job.spec.data.claim_name),
        claim_volume("checkpoints", job.spec.checkpoint.claim_name),
        shared_memory_volume(),
    ]
    if (claim := verified_claim(job)) is not None:
        volumes.append(claim_volume("evaluation", claim))
    if meets_at_address(job):
        item = {"path": ADDRESS_FILE, "fieldRef": {"fieldPath": f"metadata.annotations['{SCHEDULER_ANNOTATION}']"}}
        volumes.append({"name": "rendezvous", "downwardAPI": {"items": [item]}})
    if has_rank_table(job):
        volumes.append({"name": "rank-table", "configMap": {"name": rank_table_name(job.metadata.name)}})
    return volumes


def build_mounts(job: ArcFaceTrainingJob) -> list[Manifest]:
    """Where the volumes appear in the container."""
    mounts = [
        read_only("config", CONFIG_MOUNT),
        read_only("data", DATA_MOUNT),
        writable("checkpoints", CHECKPOINT_MOUNT),
        writable("shared-memory", "/dev/shm"),  # noqa: S108 - a mount of the pod's own
    ]
    if verified_claim(job) is not None:
        mounts.append(read_only("evaluation", EVALUATION_MOUNT))
    if meets_at_address(job):
        mounts.append(read_only("rendezvous", RENDEZVOUS_MOUNT))
    if has_rank_table(job):
        mounts.append(read_only("rank-table", RANK_TABLE_MOUNT))
    return mounts


def verified_claim(job: ArcFaceTrainingJob) -> str | None:
    """Claim with the sets that ranks verify during the training; None where they do not."""
    evaluation = job.spec.evaluation
    return None if evaluation is None or evaluation.every_epochs is None else evaluation.claim_name


def meets_at_address(job: ArcFaceTrainingJob) -> bool:
    """Whether pods have to be told where the others are."""
    return not has_rank_table(job) and job.spec.workers.replicas > 1


def has_rank_table(job: ArcFaceTrainingJob) -> bool:
    """Whether the ranks find each other by a rank table."""
    return job.spec.workers.effective_rendezvous == "rankTable"
