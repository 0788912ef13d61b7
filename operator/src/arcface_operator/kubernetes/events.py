"""Events on a job."""

import hashlib
from datetime import datetime

from arcface_api.contract.pod_environment import MANAGER
from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision import plan as decided
from arcface_operator.manifests.metadata import Manifest

MESSAGE_LIMIT = 1024


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
        "message": action.message[:MESSAGE_LIMIT],
        "source": {"component": MANAGER, "host": identity},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
