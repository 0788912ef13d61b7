"""Jobs for tests: everything has a small default, each field may be given."""

import json
from typing import Any

from arcface_api.names import API_VERSION, KIND
from arcface_api.resource.job import ArcFaceTrainingJob

DEFAULTS: dict[str, Any] = {
    "data": {"claimName": "faces"},
    "checkpoint": {"claimName": "checkpoints"},
    "workers": {"accelerator": "cpu"},
}


def make_job(name: str = "quick", uid: str | None = None, **spec: Any) -> ArcFaceTrainingJob:
    """A job whose spec has these fields (outside names), each map laid over the default's."""
    return ArcFaceTrainingJob.from_json(json.dumps(job_document(name, uid, **spec)), "make_job")


def job_document(name: str = "quick", uid: str | None = None, **spec: Any) -> dict[str, Any]:
    """The same as the document a user would write."""
    metadata = {"name": name} if uid is None else {"name": name, "uid": uid}
    merged = {field: {**value, **spec.pop(field, {})} for field, value in DEFAULTS.items()}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {**merged, **spec}}
