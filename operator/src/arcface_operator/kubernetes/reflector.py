"""Caches of the objects that carry our label, kept current by listing and watching (informers).

The list replaces the cache: what has gone while no watch was running is missed by nobody.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from arcface_api.contract.pod_environment import MANAGER, MANAGER_LABEL
from arcface_operator.kubernetes.client import GONE, Api, ApiError, JobRef, Unreachable, collection
from arcface_operator.manifests.metadata import Manifest

LOG = logging.getLogger(__name__)
SELECTOR = f"{MANAGER_LABEL}={MANAGER}"
PAGE = 500
TOMBSTONES = 10_000
PAUSE_SECONDS = 1.0
"""Between a stream that failed and the next list."""

View = TypeVar("View")


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Where an object stands in the cache."""

    ref: JobRef
    name: str
    version: int


class Reflector(Generic[View]):
    """Views of objects by job and name."""

    def __init__(
        self, api: Api, path: str, view: Callable[[Manifest], View], changed: Callable[[JobRef], None]
    ) -> None:
        self.api = api
        self.path = path
        self.view = view
        self.changed = changed
        self.views: dict[JobRef, dict[str, View]] = {}
        self.entries: dict[str, CacheEntry] = {}
        """By uid: objects in the cache."""
        self.tombstones: dict[str, None] = {}
        """Uids of the objects that were deleted last, the newest at the end."""
        self.is_listed = asyncio.Event()

    def of(self, ref: JobRef) -> list[View]:
        """Views of a job's objects."""
        return list(self.views.get(ref, {}).values())

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
        before, self.views, self.entries = self.views, fresh.views, fresh.entries
        self.is_listed.set()
        for ref in before.keys() | self.views.keys():
            self.changed(ref)
        version: str = page["metadata"]["resourceVersion"]
        return version

    def keep_newer(self, older: "Reflector[View]", version: int) -> None:
        """Take over from the older cache what was taken in since the list's version: the watch tells of it later."""
        for uid, entry in older.entries.items():
            if entry.version > version:
                self.drop(uid)
                self.entries[uid] = entry
                self.views.setdefault(entry.ref, {})[entry.name] = older.views[entry.ref][entry.name]

    async def follow(self, version: str) -> str:
        """Take in changes after a version until the stream ends; returns the last version."""
        query = {"labelSelector": SELECTOR, "resourceVersion": version}
        async for kind, item in self.api.watch(self.path, query):
            version = item["metadata"]["resourceVersion"]
            if kind == "DELETED":
                self.bury(item["metadata"]["uid"])
                self.drop(item["metadata"]["uid"])
            elif kind != "BOOKMARK":
                self.put(item)
        return version

    def upsert(self, item: Manifest) -> None:
        """Take in an object from an answer: its event may take a while, or have come and gone."""
        if item["metadata"]["uid"] not in self.tombstones:
            self.put(item)

    def put(self, item: Manifest) -> None:
        """Take in an object as it is now, unless a newer state of it is known."""
        metadata, ref = item["metadata"], JobRef.of_child(item)
        uid, name, version = metadata["uid"], metadata["name"], version_of(metadata)
        before = self.entries.get(uid)
        if before is not None and version < before.version:
            return
        try:
            view = self.view(item)
        except (KeyError, TypeError, ValueError, AttributeError):
            LOG.exception("%s %s/%s cannot be read and counts as absent", self.path, metadata["namespace"], name)
            self.drop(uid)
            return
        if before is not None and before.ref != ref:
            self.drop(uid)  # somebody has given it to another job
        self.entries[uid] = CacheEntry(ref, name, version)
        names = self.views.setdefault(ref, {})
        if names.get(name) != view:
            names[name] = view
            self.changed(ref)

    def drop(self, uid: str) -> None:
        """Take an object out."""
        entry = self.entries.pop(uid, None)
        if entry is None:
            return
        self.views.get(entry.ref, {}).pop(entry.name, None)
        if not self.views.get(entry.ref):
            self.views.pop(entry.ref, None)
        self.changed(entry.ref)

    def bury(self, uid: str) -> None:
        """An answer about this object may still be under way."""
        self.tombstones[uid] = None
        if len(self.tombstones) > TOMBSTONES:
            del self.tombstones[next(iter(self.tombstones))]


def version_of(metadata: Manifest) -> int:
    """Order of an object's states; Kubernetes promises that these can be compared as numbers since 1.35."""
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


class Children(Generic[View]):
    """One kind of children of all jobs: a reflector for the whole cluster, or one for each namespace."""

    def __init__(
        self,
        api: Api,
        resource: tuple[str, str],
        view: Callable[[Manifest], View],
        changed: Callable[[JobRef], None],
        namespaces: Sequence[str],
    ) -> None:
        places: Sequence[str | None] = namespaces or (None,)
        self.reflectors = {place: Reflector(api, collection(*resource, place), view, changed) for place in places}

    def of(self, ref: JobRef) -> list[View]:
        """A job's children."""
        reflector = self._reflector(ref.namespace)
        return [] if reflector is None else reflector.of(ref)

    def upsert(self, item: Manifest) -> None:
        """Take in an object that we have just made."""
        reflector = self._reflector(item["metadata"]["namespace"])
        if reflector is not None:
            reflector.upsert(item)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to look."""
        for reflector in self.reflectors.values():
            tasks.create_task(reflector.run())

    @property
    def is_listed(self) -> bool:
        """Whether all have been seen once."""
        return all(reflector.is_listed.is_set() for reflector in self.reflectors.values())

    async def wait_until_listed(self) -> None:
        """Until all have been seen once."""
        await asyncio.gather(*(reflector.is_listed.wait() for reflector in self.reflectors.values()))

    def _reflector(self, namespace: str) -> Reflector[View] | None:
        """Who looks at a namespace."""
        return self.reflectors.get(namespace) or self.reflectors.get(None)
