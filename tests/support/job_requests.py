"""Requests about jobs to a real API server, and what it refuses."""

from typing import Any

import httpx

from arcface_api.names import GROUP, PLURAL, VERSION
from support.builders.jobs import job_document
from testbed.control_plane.api_answers import answer

STRICT = {"fieldValidation": "Strict"}
MERGE = {"Content-Type": "application/merge-patch+json"}
UNCHECKED = "some validation rules were not checked because the object was invalid"
"""What the API server adds where a schema error keeps it from going on to the rules."""


def jobs_path(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"


def create(api: httpx.Client, namespace: str, name: str = "quick", **spec: Any) -> Any:
    return answer(api.post(jobs_path(namespace), params=STRICT, json=job_document(name, **spec)))


def causes(refusal: httpx.Response) -> list[tuple[str, str]]:
    """Field and sentence of everything that is wrong."""
    assert refusal.status_code == httpx.codes.UNPROCESSABLE_ENTITY, refusal.text
    found = refusal.json()["details"]["causes"]
    return [(cause["field"], cause["message"]) for cause in found if UNCHECKED not in cause["message"]]
