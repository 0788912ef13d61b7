"""What all objects of a job share: names, labels and the owner reference."""

from typing import Any

from arcface_api.contract import pod_environment as pods
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob

Manifest = dict[str, Any]
"""A Kubernetes object, shaped like the YAML it becomes."""


def worker_name(job: str, index: int) -> str:
    """Name and host name of a rank pod."""
    return f"{job}-worker-{index}"


def config_name(job: str) -> str:
    """ConfigMap with the run configuration."""
    return f"{job}-config"


def rank_table_name(job: str) -> str:
    """ConfigMap with the rank table; MindX fixes the prefix."""
    return f"rings-config-{job}"


def evaluator_name(job: str) -> str:
    """Job and container host of the evaluation."""
    return f"{job}-evaluate"


def build_metadata(job: ArcFaceTrainingJob, name: str, component: str) -> Manifest:
    """Metadata of a child; it is deleted with the job once the API server has given the job a uid."""
    metadata: Manifest = {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": build_labels(job, component),
    }
    if job.metadata.uid is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": job.metadata.name,
                "uid": job.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    return metadata


def build_labels(job: ArcFaceTrainingJob, component: str) -> dict[str, str]:
    """Labels of every child."""
    return {
        pods.NAME_LABEL: "arcface",
        pods.COMPONENT_LABEL: component,
        pods.MANAGER_LABEL: pods.MANAGER,
        pods.INSTANCE_LABEL: job.metadata.name,
        pods.JOB_LABEL: job.metadata.name,
    }


def worker_selector(job: str) -> dict[str, str]:
    """Labels that the rank pods of a job have and no other pod."""
    return {pods.JOB_LABEL: job, pods.COMPONENT_LABEL: "worker"}
