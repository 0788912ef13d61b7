"""A cache of the objects that carry our label, kept current by listing and watching.

The list replaces the cache: what has gone while no watch was running is missed by nobody.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from arcface_api.contract.pod_environment import JOB_LABEL, MANAGER, MANAGER_LABEL
from arcface_operator.kubernetes.client import GONE, Api, ApiError, Unreachable
from arcface_operator.manifests.metadata import Manifest

LOG = logging.getLogger(__name__)
SELECTOR = f"{MANAGER_LABEL}={MANAGER}"
PAGE = 500
REMEMBERED = 10_000
PAUSE_SECONDS = 1.0
"""Between a stream that failed and the next list."""

View = TypeVar("View")
Key = tuple[str, str]
"""Namespace and name of a job."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Where an object stands in the cache."""

    key: Key
    name: str
    version: int


class Reflector(Generic[View]):
    """Views of objects by job and name."""

    def __init__(self, api: Api, path: str, view: Callable[[Manifest], View], changed: Callable[[Key], None]) -> None:
        self.api = api
        self.path = path
        self.view = view
        self.changed = changed
        self.views: dict[Key, dict[str, View]] = {}
        self.seen: dict[str, Seen] = {}
        """By uid: objects in the cache."""
        self.gone: dict[str, None] = {}
        """Uids of the objects that were deleted last, the newest at the end."""
        self.is_listed = asyncio.Event()

    def of(self, key: Key) -> list[View]:
        """Views of a job's objects."""
        return list(self.views.get(key, {}).values())

    async def run(self) -> None:
        """List and watch until cancelled; whatever goes wrong, a new list mends it."""
        while True:
            try:
                version = await self.list()
                while True:
                    version = await self.follow(version)
            except (ApiError, Unreachable) as error:
                if isinstance(error, ApiError) and error.status == GONE:
                    continue
                LOG.warning("watch of %s: %s", self.path, error)
            except Exception:  # the other jobs' pods are still to be watched
                LOG.exception("watch of %s: this should not have happened", self.path)
            await asyncio.sleep(PAUSE_SECONDS)

    async def list(self) -> str:
        """Take a new list, which replaces the old one only when it is complete; returns its version."""
        fresh: Reflector[View] = Reflector(self.api, self.path, self.view, lambda _: None)
        query: dict[str, str | int] = {"labelSelector": SELECTOR, "limit": PAGE}
        while True:
            page = await self.api.get(self.path, query)
            for item in page.get("items", []):
                fresh.put(item)
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        fresh.keep_newer(self, version_of(page["metadata"]))
        before, self.views, self.seen = self.views, fresh.views, fresh.seen
        self.is_listed.set()
        for key in before.keys() | self.views.keys():
            self.changed(key)
        version: str = page["metadata"]["resourceVersion"]
        return version

    def keep_newer(self, older: "Reflector[View]", version: int) -> None:
        """Take over from the older cache what was noted since the list's version: the watch tells of it later."""
        for uid, seen in older.seen.items():
            if seen.version > version:
                self.drop(uid)
                self.seen[uid] = seen
                self.views.setdefault(seen.key, {})[seen.name] = older.views[seen.key][seen.name]

    async def follow(self, version: str) -> str:
        """Take in changes after a version until the stream ends; returns the last version seen."""
        query = {"labelSelector": SELECTOR, "resourceVersion": version}
        async for kind, item in self.api.watch(self.path, query):
            version = item["metadata"]["resourceVersion"]
            if kind == "DELETED":
                self.remember_gone(item["metadata"]["uid"])
                self.drop(item["metadata"]["uid"])
            elif kind != "BOOKMARK":
                self.put(item)
        return version

    def note(self, item: Manifest) -> None:
        """Take in an object from an answer: its event may take a while, or have come and gone."""
        if item["metadata"]["uid"] not in self.gone:
            self.put(item)

    def put(self, item: Manifest) -> None:
        """Take in an object as it is now, unless a newer state of it is known."""
        metadata, key = item["metadata"], key_of(item)
        uid, name, version = metadata["uid"], metadata["name"], version_of(metadata)
        before = self.seen.get(uid)
        if before is not None and version < before.version:
            return
        try:
            view = self.view(item)
        except (KeyError, TypeError, ValueError, AttributeError):
            LOG.exception("%s %s/%s cannot be read and counts as absent", self.path, metadata["namespace"], name)
            self.drop(uid)
            return
        if before is not None and before.key != key:
            self.drop(uid)  # somebody has given it to another job
        self.seen[uid] = Seen(key, name, version)
        names = self.views.setdefault(key, {})
        if names.get(name) != view:
            names[name] = view
            self.changed(key)

    def drop(self, uid: str) -> None:
        """Take an object out."""
        seen = self.seen.pop(uid, None)
        if seen is None:
            return
        self.views.get(seen.key, {}).pop(seen.name, None)
        if not self.views.get(seen.key):
            self.views.pop(seen.key, None)
        self.changed(seen.key)

    def remember_gone(self, uid: str) -> None:
        """An answer about this object may still be under way."""
        self.gone[uid] = None
        if len(self.gone) > REMEMBERED:
            del self.gone[next(iter(self.gone))]


def version_of(metadata: Manifest) -> int:
    """Order of an object's states; Kubernetes promises that these can be compared as numbers since 1.35."""
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def key_of(item: Manifest) -> Key:
    """The job that an object belongs to."""
    metadata = item["metadata"]
    return metadata["namespace"], metadata.get("labels", {}).get(JOB_LABEL, "")
