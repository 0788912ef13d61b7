"""The jobs as last seen, by watching or as the answer to a write: the newer of the two counts."""

import json
from collections.abc import Collection

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.kubernetes.client import JobRef
from arcface_operator.kubernetes.reflector import version_of
from arcface_operator.manifests.metadata import Manifest


class JobStore:
    """Manifests of all jobs."""

    def __init__(self) -> None:
        self.bodies: dict[JobRef, Manifest] = {}
        self.parsed: dict[JobRef, tuple[Manifest, ArcFaceTrainingJob]] = {}
        """Jobs, with the manifests that they were read from: most looks are about pods."""

    def job(self, ref: JobRef) -> ArcFaceTrainingJob | None:
        """A job as it is in its newest manifest; None where there is none.

        Raises:
            InvalidInput: where another release has written it.
        """
        body = self.bodies.get(ref)
        if body is None:
            self.parsed.pop(ref, None)
            return None
        known = self.parsed.get(ref)
        if known is not None and known[0] is body:
            return known[1]
        job = parse_job(body)
        self.parsed[ref] = body, job
        return job

    def body(self, ref: JobRef) -> Manifest | None:
        """The newest manifest of a job."""
        return self.bodies.get(ref)

    def upsert(self, body: Manifest) -> bool:
        """Take in a manifest; False where a newer one is known."""
        ref = JobRef.of(body)
        known = self.bodies.get(ref)
        if (
            known is not None
            and _same_object(known, body)
            and version_of(body["metadata"]) < version_of(known["metadata"])
        ):
            return False
        # Lists of managed fields are longer than the rest and tell us nothing.
        metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
        self.bodies[ref] = {**body, "metadata": metadata}
        return True

    def retain(self, uids: Collection[str], known_before: Collection[str]) -> None:
        """Drop the jobs that a list does not have although they were known before it: their deletion was missed."""
        for ref, body in list(self.bodies.items()):
            uid = body["metadata"]["uid"]
            if uid in known_before and uid not in uids:
                del self.bodies[ref]

    def uids(self) -> set[str]:
        """Uids of all jobs."""
        return {body["metadata"]["uid"] for body in self.bodies.values()}

    def delete(self, body: Manifest) -> None:
        """The job is gone, unless another of its name has come."""
        known = self.bodies.get(JobRef.of(body))
        if known is not None and _same_object(known, body):
            del self.bodies[JobRef.of(body)]


def _same_object(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests are of the same object rather than of namesakes."""
    return bool(one["metadata"]["uid"] == other["metadata"]["uid"])


def parse_job(body: Manifest) -> ArcFaceTrainingJob:
    """The job in a manifest.

    Raises:
        InvalidInput: where another release has written it.
    """
    return ArcFaceTrainingJob.from_json(json.dumps(body), f"{body['metadata']['namespace']}/{body['metadata']['name']}")
