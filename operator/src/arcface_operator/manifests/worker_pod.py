"""Pods `<job>-worker-<i>`, each a launcher with a rank for each of its devices, and the Service that names them."""

from arcface_api.contract import pod_environment as pods
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests import card_placement, claim_access, pod_parts, pod_template, rank_variables
from arcface_operator.manifests.gang import Gang, build_pod_metadata
from arcface_operator.manifests.metadata import Manifest, build_metadata, rank_table_name, worker_name, worker_selector
from arcface_operator.settings import Settings

CONTAINER = "trainer"


def training_gang(job: ArcFaceTrainingJob) -> Gang:
    """The rank pods of a job."""
    workers = job.spec.workers
    return Gang(
        component="worker",
        name=job.metadata.name,
        pods=workers.replicas,
        devices=workers.devices_per_worker,
        marks=card_placement.placement_marks(workers.template),
    )


def build_worker_pod(job: ArcFaceTrainingJob, index: int, attempt: int, settings: Settings) -> Manifest:
    """Pod `index` of the gang's given attempt."""
    name, gang = worker_name(job.metadata.name, index), training_gang(job)
    metadata = build_pod_metadata(job, gang, name, index, attempt)
    if rank_variables.has_rank_table(job):
        metadata["annotations"] = {**metadata.get("annotations", {}), pods.RANK_INDEX_ANNOTATION: str(index)}
    pod_spec = {
        **pod_parts.pod_basics(job, gang, settings),
        "hostname": name,
        "subdomain": job.metadata.name,
        "containers": [_build_container(job, index, attempt, settings)],
        "volumes": _build_volumes(job),
    }
    template = pod_template.with_template(
        _default_template(job, index, settings),
        job.spec.workers.template,
        {"metadata": metadata, "spec": pod_spec},
        "spec.workers.template",
    )
    return {"apiVersion": "v1", "kind": "Pod", **claim_access.with_read_claims(template)}


def build_spare_pod(job: ArcFaceTrainingJob, index: int, attempt: int, settings: Settings) -> Manifest:
    """A pod that is placed where rank pod `index` would be, and does nothing: it shows whether there is room for it.

    It is scheduled as a rank pod in all respects, its labels included, which affinities may go by, but is of no
    attempt. Where nobody looks after it, it gives back by itself what it holds.
    """
    pod, seconds = build_worker_pod(job, index, attempt, settings), max(1, round(settings.partial_gang_seconds))
    name, metadata, spec = f"{job.metadata.name}-spare-{index}", pod["metadata"], pod["spec"]
    idle = {"command": ["sleep"], "args": [str(seconds)]}
    return {
        **pod,
        "metadata": {**metadata, "name": name, "labels": {**metadata["labels"], pods.ATTEMPT_LABEL: pods.SPARE}},
        "spec": {
            **spec,
            "hostname": name,
            "containers": [{**item, **idle} if item["name"] == CONTAINER else item for item in spec["containers"]],
            "activeDeadlineSeconds": seconds,
            # A process with the number 1 that does not listen for SIGTERM lives until it is killed.
            "terminationGracePeriodSeconds": 1,
        },
    }


def _default_template(job: ArcFaceTrainingJob, index: int, settings: Settings) -> Manifest:
    """What a user's template may change."""
    common, variables = pod_parts.default_template(CONTAINER, job, settings), rank_variables.build_defaults(job, index)
    common |= card_placement.rank_placement(job, settings)
    if not variables:
        return common
    return pod_template.merged(common, {"spec": {"containers": [{"name": CONTAINER, "env": variables}]}}, "defaults")


def _build_container(job: ArcFaceTrainingJob, index: int, attempt: int, settings: Settings) -> Manifest:
    """The container that trains."""
    workers = job.spec.workers
    return {
        "name": CONTAINER,
        **pod_parts.container_basics(job, settings),
        "command": ["arcface", "train"],
        "args": [
            "--config",
            pods.RUN_CONFIG,
            "--termination-log",
            pods.TERMINATION_LOG,
        ],
        "env": [*pod_parts.own_name_and_address(), *rank_variables.build_identity(job, index, attempt)],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in _ports(workers.devices_per_worker).items()
        ],
        **pod_parts.device_resources(job, workers.resources, workers.devices_per_worker),
        "volumeMounts": _build_mounts(job),
    }


def _build_volumes(job: ArcFaceTrainingJob) -> list[Manifest]:
    """Volumes of a rank pod."""
    volumes = [
        pod_parts.config_volume(job),
        pod_parts.claim_volume("data", job.spec.data.claim_name),
        pod_parts.claim_volume("checkpoints", job.spec.checkpoint.claim_name),
        pod_parts.shared_memory_volume(),
    ]
    if (init_from := job.spec.model.init_from) is not None:
        volumes.append(pod_parts.claim_volume("init-from", init_from.claim_name))
    if (claim := verified_claim(job)) is not None:
        volumes.append(pod_parts.claim_volume("evaluation", claim))
    shown = {pods.LAUNCH_FILE_NAME: pods.LAUNCH_ANNOTATION}
    if rank_variables.has_scheduler_file(job):
        shown = {pods.SCHEDULER_ADDRESS_FILE: pods.SCHEDULER_ANNOTATION, **shown}
    items = [
        {"path": file, "fieldRef": {"fieldPath": f"metadata.annotations['{name}']"}} for file, name in shown.items()
    ]
    volumes.append({"name": "rendezvous", "downwardAPI": {"items": items}})
    if rank_variables.has_rank_table(job):
        volumes.append({"name": "rank-table", "configMap": {"name": rank_table_name(job.metadata.name)}})
    return volumes


def _build_mounts(job: ArcFaceTrainingJob) -> list[Manifest]:
    """Where the volumes appear in the container."""
    mounts = [
        pod_parts.read_only("config", pods.RUN_CONFIG_MOUNT),
        pod_parts.read_only("data", pods.DATA_MOUNT),
        pod_parts.writable("checkpoints", pods.CHECKPOINT_MOUNT),
        pod_parts.writable("shared-memory", pods.SHARED_MEMORY_MOUNT),
    ]
    if job.spec.model.init_from is not None:
        mounts.append(pod_parts.read_only("init-from", pods.INIT_FROM_MOUNT))
    if verified_claim(job) is not None:
        mounts.append(pod_parts.read_only("evaluation", pods.EVALUATION_MOUNT))
    mounts.append(pod_parts.read_only("rendezvous", pods.RENDEZVOUS_MOUNT))
    if rank_variables.has_rank_table(job):
        mounts.append(pod_parts.read_only("rank-table", pods.RANK_TABLE_MOUNT))
    return mounts


def verified_claim(job: ArcFaceTrainingJob) -> str | None:
    """Claim with the sets that ranks verify during the training; None where they do not."""
    evaluation = job.spec.evaluation
    return None if evaluation is None or evaluation.every_epochs is None else evaluation.claim_name


def build_service(job: ArcFaceTrainingJob) -> Manifest:
    """The Service; it publishes pods that are not ready, since ranks become ready only after they have met."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_metadata(job, job.metadata.name, "worker"),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": worker_selector(job.metadata.name),
            "ports": [
                {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
                for name, port in _ports(job.spec.workers.devices_per_worker).items()
            ],
        },
    }


def _ports(ranks_per_pod: int) -> dict[str, int]:
    """Ports of a rank pod by name: /metrics of each of its ranks; in pod 0 also the launcher's and the rendezvous."""
    metrics = {"metrics" if rank == 0 else f"metrics-{rank}": pods.METRICS_PORT + rank for rank in range(ranks_per_pod)}
    return {**metrics, "launcher": pods.LAUNCHER_PORT, "rendezvous": pods.RENDEZVOUS_PORT}
