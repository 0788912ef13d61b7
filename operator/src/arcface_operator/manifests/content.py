"""Telling whether somebody has changed a Service or a ConfigMap of ours since we wrote it.

Each carries a digest of what we put into it, and a word for what it was made of. So nobody has to make it anew to see
whether it is still right, and a newer release leaves alone what an older one has written for an attempt that runs.
"""

import hashlib
import json

from arcface_api.contract.pod_environment import RANK_TABLE_FILE, RUN_CONFIG_FILE
from arcface_operator.manifests.metadata import Manifest

DIGEST_ANNOTATION = "arcface.io/content-digest"
SOURCE_ANNOTATION = "arcface.io/content-source"
OWN_KEYS = (RUN_CONFIG_FILE, RANK_TABLE_FILE)
OWN_PORTS = ("metrics", "rendezvous")
"""What the names of our ports begin with."""
OWN_SERVICE_FIELDS = ("clusterIP", "publishNotReadyAddresses", "selector")


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
