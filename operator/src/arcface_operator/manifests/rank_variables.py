"""Variables of a rank pod: who it is, where the ranks meet, and how long HCCL waits for a silent peer."""

from pathlib import Path

from arcface_api.contract import pod_environment as pods
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.card_placement import has_super_pods, pods_per_super_pod
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.pod_template import template_map

CONNECT_SECONDS = (120, 7200)
"""Range of HCCL_CONNECT_TIMEOUT (CANN 8.5, environment variables)."""
LONGEST_EXEC_SECONDS = 17_340
"""Greatest HCCL_EXEC_TIMEOUT that every chip takes; 910A counts in steps of 68 s, rounded down (CANN 8.5)."""


def has_rank_table(job: ArcFaceTrainingJob) -> bool:
    """Whether HCCL is given a rank table; a rank alone needs none."""
    workers = job.gang
    return workers.effective_rendezvous == "rankTable" and workers.world_size > 1


def has_scheduler_file(job: ArcFaceTrainingJob) -> bool:
    """Whether pods are told by a file where rank 0's is; with a rank table they read it there."""
    return job.gang.replicas > 1 and not has_rank_table(job)


def build_identity(job: ArcFaceTrainingJob, index: int, attempt: int) -> list[Manifest]:
    """Who the pod is and where the ranks meet; every rank's own number is derived from these in the pod."""
    workers = job.gang
    identity = pods.RankIdentity(
        rank=index * workers.devices_per_worker,
        world_size=workers.world_size,
        scheduler_file=Path(pods.RENDEZVOUS_MOUNT, pods.SCHEDULER_ADDRESS_FILE) if has_scheduler_file(job) else None,
        rank_table=Path(pods.RANK_TABLE_MOUNT, pods.RANK_TABLE_FILE) if has_rank_table(job) else None,
        launch_file=Path(pods.RENDEZVOUS_MOUNT, pods.LAUNCH_FILE_NAME),
        attempt=attempt,
        job_uid=job.metadata.uid,
    )
    return [{"name": key, "value": value} for key, value in identity.variables().items()]


def build_defaults(job: ArcFaceTrainingJob, index: int) -> list[Manifest]:
    """MindSpore's and HCCL's settings, which a user's template may change; none for a rank that has nobody to meet.

    A rank that waits for the others holds Python's lock and answers nobody (MindSpore 2.10): the limit is its own.
    """
    if job.gang.world_size == 1:
        return []
    limit = job.spec.run_policy.startup_deadline_seconds
    join: Manifest = {"name": pods.JOIN_TIMEOUT, "value": str(limit)}
    return [join, *_hccl_settings(job, index)] if job.spec.workers.accelerator == "ascend" else [join]


def _hccl_settings(job: ArcFaceTrainingJob, index: int) -> list[Manifest]:
    """How long HCCL waits, and where it talks."""
    variables: list[Manifest] = [{"name": name, "value": str(seconds)} for name, seconds in _time_limits(job).items()]
    if _uses_host_network(job):
        # Required then and forbidden otherwise (MindCluster): HCCL would take an interface of its own choice.
        host = {"fieldRef": {"fieldPath": "status.hostIP"}}
        variables.append({"name": pods.HCCL_ADDRESS, "valueFrom": host})
    if has_super_pods(job.spec):
        number = index // pods_per_super_pod(job.spec)
        variables.append({"name": pods.HCCL_SUPER_POD, "value": str(number)})
    return variables


def _time_limits(job: ArcFaceTrainingJob) -> dict[str, int]:
    """HCCL's patience: shorter than the operator's, so that it names the silent peer before the pods are ended."""
    policy = job.spec.run_policy
    least, most = CONNECT_SECONDS
    return {
        pods.HCCL_CONNECT_TIMEOUT: min(max(_less_a_tenth(policy.startup_deadline_seconds), least), most),
        pods.HCCL_EXEC_TIMEOUT: min(_less_a_tenth(policy.stall_seconds), LONGEST_EXEC_SECONDS),
    }


def _less_a_tenth(seconds: int) -> int:
    """Nine tenths of a limit, at least a second: 0 would be no limit at all."""
    return max(seconds * 9 // 10, 1)


def _uses_host_network(job: ArcFaceTrainingJob) -> bool:
    """Whether the user's template puts the pods into their nodes' network."""
    return template_map(job.spec.workers.template, "spec").get("hostNetwork") is True
