"""The jobs as last seen, by watching or as the answer to a write: the newer of the two counts."""

import json
from collections.abc import Collection

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.kubernetes.reflector import Key, version_of
from arcface_operator.manifests.metadata import Manifest


class JobStore:
    """Manifests of all jobs."""

    def __init__(self) -> None:
        self.bodies: dict[Key, Manifest] = {}
        self.parsed: dict[Key, tuple[Manifest, ArcFaceTrainingJob]] = {}
        """Jobs, with the manifests that they were read from: most looks are about pods."""

    def job(self, key: Key) -> ArcFaceTrainingJob | None:
        """A job as it is in its newest manifest; None where there is none.

        Raises:
            InvalidInput: where another release has written it.
        """
        body = self.bodies.get(key)
        if body is None:
            self.parsed.pop(key, None)
            return None
        known = self.parsed.get(key)
        if known is not None and known[0] is body:
            return known[1]
        job = parse_job(body)
        self.parsed[key] = body, job
        return job

    def body(self, key: Key) -> Manifest | None:
        """The newest manifest of a job."""
        return self.bodies.get(key)

    def see(self, body: Manifest) -> bool:
        """Take in a manifest; False where a newer one is known."""
        key = key_of_job(body)
        known = self.bodies.get(key)
        if (
            known is not None
            and same_object(known, body)
            and version_of(body["metadata"]) < version_of(known["metadata"])
        ):
            return False
        # Lists of managed fields are longer than the rest and tell us nothing.
        metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
        self.bodies[key] = {**body, "metadata": metadata}
        return True

    def keep(self, uids: Collection[str], known_before: Collection[str]) -> None:
        """Drop the jobs that a list does not have although they were known before it: their deletion was missed."""
        for key, body in list(self.bodies.items()):
            uid = body["metadata"]["uid"]
            if uid in known_before and uid not in uids:
                del self.bodies[key]

    def uids(self) -> set[str]:
        """Uids of all jobs."""
        return {body["metadata"]["uid"] for body in self.bodies.values()}

    def forget(self, body: Manifest) -> None:
        """The job is gone, unless another of its name has come."""
        known = self.bodies.get(key_of_job(body))
        if known is not None and same_object(known, body):
            del self.bodies[key_of_job(body)]


def key_of_job(body: Manifest) -> Key:
    """Namespace and name."""
    return body["metadata"]["namespace"], body["metadata"]["name"]


def same_object(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests are of the same object rather than of namesakes."""
    return bool(one["metadata"]["uid"] == other["metadata"]["uid"])


def parse_job(body: Manifest) -> ArcFaceTrainingJob:
    """The job in a manifest.

    Raises:
        InvalidInput: where another release has written it.
    """
    return ArcFaceTrainingJob.from_json(json.dumps(body), f"{body['metadata']['namespace']}/{body['metadata']['name']}")
