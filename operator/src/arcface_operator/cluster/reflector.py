"""A picture of the objects that carry our label, kept current by listing and watching.

The list replaces the picture: what has gone while no watch was running is missed by nobody.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from arcface_operator.cluster.api import GONE, Api, ApiError, Unreachable
from arcface_operator.manifests.child import JOB_LABEL, MANAGER, MANAGER_LABEL, Manifest

LOG = logging.getLogger(__name__)
SELECTOR = f"{MANAGER_LABEL}={MANAGER}"
PAGE = 500
REMEMBERED = 10_000
PAUSE_SECONDS = 1.0
"""Between a stream that failed and the next list."""

View = TypeVar("View")
Key = tuple[str, str]
"""Namespace and name of a job."""


class Reflector(Generic[View]):
    """Views of objects by job and name."""

    def __init__(self, api: Api, path: str, view: Callable[[Manifest], View], changed: Callable[[Key], None]) -> None:
        self.api = api
        self.path = path
        self.view = view
        self.changed = changed
        self.views: dict[Key, dict[str, View]] = {}
        self.gone: dict[str, None] = {}
        """Uids of the objects that were deleted last, the newest at the end."""
        self.is_listed = asyncio.Event()

    def of(self, key: Key) -> list[View]:
        """Views of a job's objects."""
        return list(self.views.get(key, {}).values())

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                version = await self.list()
                while True:
                    version = await self.follow(version)
            except ApiError as error:
                if error.status != GONE:
                    LOG.warning("watch of %s: %s", self.path, error)
                    await asyncio.sleep(PAUSE_SECONDS)
            except Unreachable as error:
                LOG.warning("%s", error)
                await asyncio.sleep(PAUSE_SECONDS)

    async def list(self) -> str:
        """Take a new picture; returns its version."""
        found: dict[Key, dict[str, View]] = {}
        query: dict[str, str | int] = {"labelSelector": SELECTOR, "limit": PAGE}
        while True:
            page = await self.api.get(self.path, query)
            for item in page.get("items", []):
                found.setdefault(key_of(item), {})[item["metadata"]["name"]] = self.view(item)
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        before, self.views = self.views, found
        self.is_listed.set()
        for key in before.keys() | found.keys():
            self.changed(key)
        version: str = page["metadata"]["resourceVersion"]
        return version

    async def follow(self, version: str) -> str:
        """Take in changes after a version until the stream ends; returns the last version seen."""
        query = {"labelSelector": SELECTOR, "resourceVersion": version}
        async for kind, item in self.api.watch(self.path, query):
            version = item["metadata"]["resourceVersion"]
            if kind != "BOOKMARK":
                self.take(kind, item)
        return version

    def take(self, kind: str, item: Manifest) -> None:
        """Take in one change."""
        key, name = key_of(item), item["metadata"]["name"]
        if kind == "DELETED":
            self.remember_gone(item["metadata"]["uid"])
            self.views.get(key, {}).pop(name, None)
            if not self.views.get(key):
                self.views.pop(key, None)
        else:
            view, names = self.view(item), self.views.setdefault(key, {})
            if names.get(name) == view:
                return
            names[name] = view
        self.changed(key)

    def note(self, item: Manifest) -> None:
        """Take in an object that we have just made: its event may take a while, or have come and gone."""
        names = self.views.get(key_of(item), {})
        if item["metadata"]["uid"] not in self.gone and item["metadata"]["name"] not in names:
            self.take("ADDED", item)

    def remember_gone(self, uid: str) -> None:
        """An answer about this object may still be under way."""
        self.gone[uid] = None
        if len(self.gone) > REMEMBERED:
            del self.gone[next(iter(self.gone))]


def key_of(item: Manifest) -> Key:
    """The job that an object belongs to."""
    metadata = item["metadata"]
    return metadata["namespace"], metadata.get("labels", {}).get(JOB_LABEL, "")
