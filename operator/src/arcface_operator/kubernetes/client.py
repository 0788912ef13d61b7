"""The API server, spoken to in plain manifests: the only module that knows its paths and verbs.

Credentials, connections and TLS are those of the official client; its typed models would cost a conversion each way.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from arcface_api.contract.pod_environment import JOB_LABEL
from arcface_api.names import API_VERSION, PLURAL
from arcface_operator.kubernetes.priority_semaphore import Priority, PrioritySemaphore
from arcface_operator.manifests.metadata import Manifest

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
FIELD_MANAGER = "arcface-operator"
REQUEST_SECONDS = 30.0
WATCH_SECONDS = 300
"""After which the API server ends a watch; the next one goes on from there."""
SILENCE_SECONDS = 150.0
"""Without a word on a watch: bookmarks come about every minute, so that the connection must be dead."""
IN_FLIGHT = 16
"""Requests under way at once: more gained nothing in measurements, and the API server has other clients."""
FORBIDDEN, NOT_FOUND, CONFLICT, GONE = 403, 404, 409, 410
REFUSED = frozenset({400, FORBIDDEN, 422})
"""The object itself is not acceptable: quota, admission, validation."""

PLURALS = {
    "Pod": "pods",
    "PodTemplate": "podtemplates",
    "Service": "services",
    "ConfigMap": "configmaps",
    "PodGroup": "podgroups",
    "Workload": "workloads",
    "Event": "events",
    "Lease": "leases",
    "ArcFaceTrainingJob": PLURAL,
}
Query = Mapping[str, str | int]
Operations = list[Manifest]
"""Of a JSON patch (RFC 6902)."""


class JobRef(NamedTuple):
    """Which job: all that is handed on where only its name is needed."""

    namespace: str
    name: str

    @classmethod
    def of(cls, job: Manifest) -> "JobRef":
        """The job that a manifest of ours is about."""
        return cls(job["metadata"]["namespace"], job["metadata"]["name"])

    @classmethod
    def of_child(cls, child: Manifest) -> "JobRef":
        """The job that an object belongs to, by its label."""
        metadata = child["metadata"]
        return cls(metadata["namespace"], metadata.get("labels", {}).get(JOB_LABEL, ""))

    @property
    def path(self) -> str:
        """Path of the job."""
        return f"{collection(API_VERSION, PLURAL, self.namespace)}/{self.name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class CreateMode(Enum):
    """How closely the API server looks at a new object."""

    LENIENT = "lenient"
    STRICT = "strict"
    """A field that its kind does not have is refused."""
    DRY_RUN = "dry run"
    """The same, and nothing is made."""


AS_MANAGER: Query = {"fieldManager": FIELD_MANAGER}
"""Of every write: who owns a field is told by name."""
CREATE_QUERIES: dict[CreateMode, Query] = {
    CreateMode.LENIENT: AS_MANAGER,
    CreateMode.STRICT: {**AS_MANAGER, "fieldValidation": "Strict"},
    CreateMode.DRY_RUN: {**AS_MANAGER, "fieldValidation": "Strict", "dryRun": "All"},
}


class ApiError(Exception):
    """An answer that is not success."""

    def __init__(
        self,
        status: int,
        message: str,
        reason: str = "",
        causes: frozenset[str] = frozenset(),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        """Words for programs."""
        self.retry_after_seconds = retry_after_seconds
        """What a server that is busy (429, 503) asks for."""


class Unreachable(Exception):  # noqa: N818 - reads as what it says
    """No answer."""


def collection(api_version: str, plural: str, namespace: str | None) -> str:
    """Path of the objects of a kind in a namespace, or in all."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return f"{root}/{plural}" if namespace is None else f"{root}/namespaces/{namespace}/{plural}"


def _collection_of(manifest: Manifest) -> str:
    """Path of the objects like this one in its namespace."""
    return collection(manifest["apiVersion"], PLURALS[manifest["kind"]], manifest["metadata"]["namespace"])


def path_of(manifest: Manifest) -> str:
    """Path of an object."""
    return f"{_collection_of(manifest)}/{manifest['metadata']['name']}"


class Api:
    """Requests to one API server."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client
        self.semaphore = PrioritySemaphore(IN_FLIGHT)

    async def get(self, path: str, query: Query | None = None) -> Manifest:
        """One object or list."""
        return await self._request("GET", path, query)

    async def find(self, path: str) -> Manifest | None:
        """One object, None where there is none."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def create(
        self, manifest: Manifest, mode: CreateMode = CreateMode.LENIENT, priority: Priority = Priority.HIGH
    ) -> Manifest:
        """Create an object."""
        return await self._request("POST", _collection_of(manifest), CREATE_QUERIES[mode], manifest, priority=priority)

    async def apply(self, manifest: Manifest, *, is_ours: bool) -> Manifest:
        """Server-side apply; what we own and leave out is removed, and an object that is not there is created.

        Args:
            manifest: what we own of the object.
            is_ours: whether it is known to be there, and ours: what others have changed in it is taken back.
        """
        query = {**AS_MANAGER, "force": "true"} if is_ours else AS_MANAGER
        return await self._request("PATCH", path_of(manifest), query, manifest, APPLY_PATCH)

    async def replace(self, path: str, body: Manifest, priority: Priority = Priority.HIGH) -> Manifest:
        """Replace an object as a whole, if it is still the one that was read: optimistic concurrency."""
        return await self._request("PUT", path, AS_MANAGER, body, priority=priority)

    async def merge(self, path: str, body: Manifest) -> Manifest:
        """Merge fields into an object."""
        return await self._request("PATCH", path, AS_MANAGER, body, MERGE_PATCH)

    async def edit(self, path: str, operations: Operations) -> Manifest:
        """Carry out the operations of a JSON patch on an object."""
        return await self._request("PATCH", path, AS_MANAGER, operations, JSON_PATCH)

    async def delete(self, path: str, uid: str, grace_seconds: int | None = None) -> None:
        """Delete exactly the object with this uid and, in the background, what it owns."""
        body: Manifest = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        await self._request("DELETE", path, body=body)

    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Manifest | Operations | None = None,
        content_type: str = JSON,
        *,
        priority: Priority = Priority.HIGH,
    ) -> Manifest:
        """One request and its answer.

        Raises:
            ApiError: for an answer that is not success.
            Unreachable: where none came.
        """
        try:
            async with self.semaphore.acquire(priority):
                response = await self._send((method, path), query, body, content_type, REQUEST_SECONDS)
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {type(error).__name__} {error}") from None
        answer = _parse(text)
        if not _is_success(response.status):
            raise _error(response, answer)
        return answer

    async def watch(self, path: str, query: Query) -> AsyncIterator[tuple[str, Manifest]]:
        """Changes as (type, object) until the API server or the network ends the stream.

        Raises:
            ApiError: where the answer or the stream is an error, status 410 when the version is too old.
            Unreachable: where something else than the API server answers.
        """
        asked = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": WATCH_SECONDS}
        try:
            response = await self._send(("GET", path), asked, None, JSON, WATCH_SECONDS + REQUEST_SECONDS)
            if not _is_success(response.status):
                raise ApiError(response.status, str(response.reason))
            async for line in _lines(_until_silence(response.response.content.iter_any())):
                yield _event(path, _parse(line))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"watch {path}: {type(error).__name__} {error}") from None

    async def _send(
        self,
        request: tuple[str, str],
        query: Query | None,
        body: Manifest | Operations | None,
        content_type: str,
        seconds: float,
    ) -> Any:
        """Send a request, method and path, with the credentials of the moment; its answer is still to be read."""
        method, path = request
        headers = {"Accept": JSON, "Content-Type": content_type}
        await self.client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = f"{self.client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        rest: Any = self.client.rest_client
        return await rest.request(method, url, headers=headers, body=body, _request_timeout=seconds)


async def _until_silence(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Parts of a stream; TimeoutError after a silence in which the API server should have sent bookmarks."""
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        yield part


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of a stream, however long: an object has 1.5 MiB and, with everything escaped, six times that."""
    rest = bytearray()
    async for part in parts:
        rest += part
        *whole, tail = rest.split(b"\n")
        for line in whole:
            yield bytes(line)
        rest = bytearray(tail)
    if rest:
        yield bytes(rest)


def _error(response: Any, answer: Manifest) -> ApiError:
    """What an answer says that is not success."""
    details = answer.get("details") or {}
    words = frozenset(str(cause.get("reason")) for cause in details.get("causes") or [])
    wish = str(response.headers.get("Retry-After") or details.get("retryAfterSeconds") or "")
    return ApiError(
        response.status,
        str(answer.get("message") or response.reason),
        str(answer.get("reason")),
        words,
        float(wish) if wish.isdecimal() else None,  # a date, which HTTP allows, is nothing that Kubernetes sends
    )


def _event(path: str, event: Manifest) -> tuple[str, Manifest]:
    """Type and object of a watch's event; an error is raised."""
    kind, item = event.get("type"), event.get("object")
    if not isinstance(kind, str) or not isinstance(item, dict):
        raise Unreachable(f"watch {path}: something else than the API server answers")
    if kind == "ERROR":
        raise ApiError(item.get("code", 0), item.get("message", ""), str(item.get("reason")))
    return kind, item


def _is_success(status: int) -> bool:
    """Whether an answer is one."""
    return 200 <= status < 300


def _parse(text: bytes) -> Manifest:
    """An answer's JSON; a proxy in between may answer something else."""
    try:
        value = json.loads(text)
    except ValueError:
        return {"message": text[:200].decode(errors="replace")}
    return value if isinstance(value, dict) else {}
