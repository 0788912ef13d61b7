"""The pods that a job has on this machine."""

from collections.abc import Mapping
from pathlib import Path

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.local.kubelet.process_spec import PodPlacement, build_process_spec
from arcface_operator.manifests import evaluator_job, run_config, worker_pod
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.settings import Settings


def worker_pods(job: ArcFaceTrainingJob, attempt: int, settings: Settings) -> list[Manifest]:
    """The rank pods of an attempt."""
    return [worker_pod.build_worker_pod(job, index, attempt, settings) for index in range(job.spec.workers.replicas)]


def evaluator_pods(job: ArcFaceTrainingJob, settings: Settings) -> list[Manifest]:
    """The pod that Kubernetes would make for the evaluator's Job; none where the job evaluates nothing."""
    if job.spec.evaluation is None:
        return []
    manifest = evaluator_job.build_evaluator_job(job, job.spec.evaluation, settings)
    template = manifest["spec"]["template"]
    identity = {"name": manifest["metadata"]["name"], "namespace": manifest["metadata"]["namespace"]}
    return [{"kind": "Pod", "metadata": {**template["metadata"], **identity}, "spec": template["spec"]}]


def config_maps(job: ArcFaceTrainingJob) -> dict[str, Manifest]:
    """ConfigMaps of the job by name."""
    config_map = run_config.build_config_map(job)
    return {config_map["metadata"]["name"]: config_map}


def check_pods(job: ArcFaceTrainingJob, claims: Mapping[str, Path], settings: Settings) -> None:
    """InvalidInput where a pod of the job cannot become a process; nothing is created."""
    for pod in [*worker_pods(job, 0, settings)[:1], *evaluator_pods(job, settings)]:
        placement = PodPlacement(
            folder=Path("/", pod["metadata"]["name"]),
            address="127.0.0.1",
            hosts={},
            claims=claims,
            config_maps=config_maps(job),
        )
        build_process_spec(pod, placement)
