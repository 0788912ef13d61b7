"""What all objects of a job share: names, labels, the owner reference, and a seal on what is in them.

A Service and a ConfigMap carry a digest of what we put into them, and a word for what it was made of. So nobody has to
make them anew to see whether somebody has changed them, and a newer release leaves alone what an older one has written
for an attempt that runs.
"""

import hashlib
import json
from typing import Any

from arcface_api.contract import pod_environment as pods
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob

Manifest = dict[str, Any]
"""A Kubernetes object, shaped like the YAML it becomes."""
DIGEST_ANNOTATION = "arcface.io/content-digest"
SOURCE_ANNOTATION = "arcface.io/content-source"
OWN_KEYS = (pods.RUN_CONFIG_FILE, pods.RANK_TABLE_FILE)
OWN_PORTS = ("metrics", "rendezvous")
"""What the names of our ports begin with."""
OWN_SERVICE_FIELDS = ("clusterIP", "publishNotReadyAddresses", "selector")


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


def sealed(manifest: Manifest, source: str) -> Manifest:
    """The manifest with its digest, and a word for what it was made of."""
    annotations = {DIGEST_ANNOTATION: _digest(manifest), SOURCE_ANNOTATION: source}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def source_of(manifest: Manifest) -> str | None:
    """What an object was made of; empty where an older release has written it, None where somebody has changed it."""
    annotations = manifest["metadata"].get("annotations") or {}
    written = annotations.get(DIGEST_ANNOTATION)
    if written is not None and written != _digest(manifest):
        return None
    return str(annotations.get(SOURCE_ANNOTATION, ""))


def _digest(manifest: Manifest) -> str:
    """SHA-256 of the part that is ours: others may add to it, as the API server does with defaults of a Service."""
    spec, data = manifest.get("spec") or {}, manifest.get("data") or {}
    ports = [(port.get("name", ""), port.get("port")) for port in spec.get("ports") or []]
    content = [
        {key: data.get(key) for key in OWN_KEYS},
        {field: spec.get(field) for field in OWN_SERVICE_FIELDS},
        sorted(port for port in ports if port[0].startswith(OWN_PORTS)),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
