"""One kind of objects, wherever the operator looks: a cache, and a reflector for each namespace or one for all.

A reflector keeps the cache current by listing and watching one collection, for as long as the operator runs. It follows
client-go's (`tools/cache/reflector.go`): whatever goes wrong, a new list mends it, after a pause that grows while
things go wrong; a watch that closes within a second without a word counts as one that went wrong.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Generic

from arcface_api.contract.pod_environment import MANAGER, MANAGER_LABEL
from arcface_operator.kubernetes.cache import Cache, Key, View, version_of
from arcface_operator.kubernetes.client import FORBIDDEN, GONE, NOT_FOUND, Api, ApiError, Unreachable, collection
from arcface_operator.manifests.metadata import Manifest

LOG = logging.getLogger(__name__)
OUR_OWN = f"{MANAGER_LABEL}={MANAGER}"
"""Selects our children."""
Place = str | None
"""A namespace, None for all of them."""
PAGE = 500
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 15.0
"""Between what went wrong and the next list."""
CALM_SECONDS = 60.0
"""After which an error is the first one again."""
SHORT_WATCH_SECONDS = 1.0
STALE_SECONDS = 60.0
"""Without a list or a watch, after which what the cache has is not how things are any more."""
NOT_OURS_TO_SEE = frozenset({FORBIDDEN, NOT_FOUND})
"""The namespace is not granted, or gone, or the kind is not there: others go on, and this one when that changes."""


def places(namespaces: Sequence[str]) -> Sequence[Place]:
    """Where to look, by the namespaces that an operator is for: none means all."""
    return namespaces or (None,)


class Informer(Generic[Key, View]):
    """Objects of one kind; a place that may not be looked at, or is gone, is no affair of the others'."""

    def __init__(
        self, api: Api, resource: tuple[str, str], cache: Cache[Key, View], where: Sequence[Place], selector: str = ""
    ) -> None:
        self.cache = cache
        self.reflectors = {
            place: Reflector(api, collection(*resource, place), cache, place, selector) for place in where
        }

    def of(self, key: Key) -> list[View]:
        """Views of the objects with a key."""
        return self.cache.of(key)

    def upsert(self, item: Manifest) -> None:
        """Take in an object from the answer to a write."""
        self.cache.upsert(item)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to look."""
        for reflector in self.reflectors.values():
            tasks.create_task(reflector.run())

    def is_current(self, namespace: str | None = None) -> bool:
        """Whether what the cache does not have of a namespace is not there."""
        reflector = self.reflectors.get(namespace) or self.reflectors.get(None)
        return reflector is not None and reflector.is_current

    def is_known(self, namespace: str | None = None) -> bool:
        """Whether the objects of a namespace have been seen, and still are or were a moment ago."""
        reflector = self.reflectors.get(namespace) or self.reflectors.get(None)
        return reflector is not None and reflector.is_known

    def error_of(self, namespace: str) -> ApiError | Unreachable | None:
        """Why the objects of a namespace cannot be seen any more; None where they can, or could a moment ago."""
        reflector = self.reflectors.get(namespace) or self.reflectors[None]
        return reflector.error if reflector.is_stale else None

    def lacks(self, item: Manifest) -> bool:
        """Whether an object is known not to be there, by its name and key."""
        metadata = item["metadata"]
        names = self.cache.by_key.get(self.cache.key(item), {})
        return self.is_current(metadata["namespace"]) and metadata["name"] not in names

    async def has_listed(self, namespace: str) -> bool:
        """Whether the objects of a namespace have been seen, once they have been asked for."""
        reflector = self.reflectors.get(namespace) or self.reflectors[None]
        await reflector.has_tried.wait()
        return self.is_known(namespace)

    @property
    def is_settled(self) -> bool:
        """Whether all that may be looked at is seen, and there is any."""
        reflectors = self.reflectors.values()
        are_known = all(reflector.is_known or reflector.is_refused for reflector in reflectors)
        return are_known and any(reflector.is_known for reflector in reflectors)


class Backoff:
    """Pauses that grow while tries fail soon."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def after(self, lasted: float) -> float:
        """The pause after a try that went well for so many seconds."""
        grown = FIRST_PAUSE_SECONDS if lasted > CALM_SECONDS else max(2 * self.seconds, FIRST_PAUSE_SECONDS)
        self.seconds = min(grown, LAST_PAUSE_SECONDS)
        return self.seconds


class Reflector(Generic[Key, View]):
    """One collection, of a namespace or of the whole cluster."""

    def __init__(
        self, api: Api, path: str, cache: Cache[Key, View], namespace: str | None = None, selector: str = ""
    ) -> None:
        self.api = api
        self.path = path
        self.cache = cache
        self.namespace = namespace
        self.selector = {"labelSelector": selector} if selector else {}
        self.is_listed = asyncio.Event()
        """Set once all objects have been seen."""
        self.has_tried = asyncio.Event()
        """Set once they have been asked for, whatever came of it."""
        self.is_current = False
        """Whether the cache is kept up to date: what it does not have is not there."""
        self.is_refused = False
        """Whether the API server will not show them."""
        self.current_at = time.monotonic()
        """When the cache was last current, while it is not; at first, when it was begun."""
        self.error: ApiError | Unreachable = Unreachable("not asked for yet")
        """Why it is not, while it is not."""
        self.complaint = ""
        """Logged last: lasting trouble is told of once."""

    @property
    def is_stale(self) -> bool:
        """Whether the cache, which may have been current once, tells nothing of how things are now."""
        return not self.is_current and (self.is_refused or time.monotonic() - self.current_at >= STALE_SECONDS)

    @property
    def is_known(self) -> bool:
        """Whether all objects have been seen, and not too long ago."""
        return self.is_listed.is_set() and not self.is_stale

    async def run(self) -> None:
        """List and watch until cancelled."""
        backoff = Backoff()
        while True:
            began = time.monotonic()
            try:
                await self._list_and_watch()
            except (ApiError, Unreachable) as error:
                self._note(error)
            except Exception as error:  # all other collections are still to be watched
                LOG.exception("watch of %s: this should not have happened", self.path)
                self.error = Unreachable(f"unexpected {type(error).__name__}")
            if self.is_current:
                self.is_current, self.current_at = False, time.monotonic()
            self.has_tried.set()
            await asyncio.sleep(backoff.after(time.monotonic() - began))

    async def _list_and_watch(self) -> None:
        """One list and what follows it, until something goes wrong."""
        version = await self.list()
        self.is_current, self.is_refused, self.complaint = True, False, ""
        self.is_listed.set()
        self.has_tried.set()
        while True:
            version = await self.follow(version)

    async def list(self) -> str:
        """Take a new list, which replaces the old one only when it is complete; returns its version."""
        fresh = self.cache.empty()
        query: dict[str, str | int] = {**self.selector, "limit": PAGE}
        while True:
            page = await self.api.get(self.path, query)
            for item in page.get("items", []):
                fresh.put(item)
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        self.cache.replace(fresh, version_of(page["metadata"]), self.namespace)
        version: str = page["metadata"]["resourceVersion"]
        return version

    async def follow(self, version: str) -> str:
        """Take in changes after a version until the stream ends; returns the last version.

        Raises:
            Unreachable: where it ends at once without a word.
        """
        began, has_come = time.monotonic(), False
        async for kind, item in self.api.watch(self.path, {**self.selector, "resourceVersion": version}):
            version, has_come = item["metadata"]["resourceVersion"], True
            self._take_in(kind, item)
        if not has_come and time.monotonic() - began < SHORT_WATCH_SECONDS:
            raise Unreachable("closed at once")
        return version

    def _take_in(self, kind: str, item: Manifest) -> None:
        """One event."""
        if kind == "DELETED":
            self.cache.remove(item)
        elif kind != "BOOKMARK":
            self.cache.put(item)

    def _note(self, error: ApiError | Unreachable) -> None:
        """Take note of what went wrong; a version that is too old (410) is in the nature of watches."""
        self.is_refused, self.error = isinstance(error, ApiError) and error.status in NOT_OURS_TO_SEE, error
        if isinstance(error, ApiError) and error.status == GONE:
            return
        if (complaint := str(error)) != self.complaint:
            LOG.warning("watch of %s: %s", self.path, complaint)
        self.complaint = complaint
