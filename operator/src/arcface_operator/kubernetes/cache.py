"""Views of objects by key, as the API server was last heard of: what informers keep and decisions look at.

A list replaces what was there; between two lists objects come one by one, from a watch or as answers to writes, and the
newest state of each counts.
"""

import logging
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from arcface_operator.manifests.metadata import Manifest

LOG = logging.getLogger(__name__)
TOMBSTONES = 10_000

Key = TypeVar("Key", bound=Hashable)
View = TypeVar("View")


@dataclass(frozen=True, slots=True)
class CacheEntry(Generic[Key, View]):
    """One object."""

    key: Key
    uid: str
    namespace: str
    """Empty for objects of the whole cluster."""
    name: str
    version: int
    view: View


class Cache(Generic[Key, View]):
    """Objects of one kind."""

    def __init__(
        self, key: Callable[[Manifest], Key], view: Callable[[Manifest], View], changed: Callable[[Key], None]
    ) -> None:
        self.key = key
        self.view = view
        self.changed = changed
        self.by_uid: dict[str, CacheEntry[Key, View]] = {}
        self.by_key: dict[Key, dict[str, CacheEntry[Key, View]]] = {}
        """And by name."""
        self.listed_versions: dict[str | None, int] = {}
        """Of the last list of each namespace, None for the whole cluster."""
        self.tombstones: dict[str, None] = {}
        """Uids of the objects that were deleted last, the newest at the end."""

    def of(self, key: Key) -> list[View]:
        """Views of the objects with a key."""
        return [entry.view for entry in self.by_key.get(key, {}).values()]

    def __iter__(self) -> Iterator[View]:
        # Metrics are read in a thread: a copy that is made at once is not changed meanwhile.
        return iter([entry.view for entry in list(self.by_uid.values())])

    def empty(self) -> Self:
        """A cache of the same kind for a list that is still being read."""
        return type(self)(self.key, self.view, lambda _: None)

    def upsert(self, item: Manifest) -> None:
        """Take in an object from an answer: its event may take a while, or have come and gone."""
        if item["metadata"]["uid"] not in self.tombstones:
            self.put(item)

    def put(self, item: Manifest) -> None:
        """Take in an object as it is now, unless a newer state of it is known."""
        metadata = item["metadata"]
        known = self.by_uid.get(metadata["uid"])
        if known is not None and version_of(metadata) < known.version:
            return
        namespace = metadata.get("namespace", "")
        try:
            key, view = self.key(item), self.view(item)
        except (KeyError, TypeError, ValueError, AttributeError):
            LOG.exception("%s/%s cannot be read and counts as absent", namespace, metadata["name"])
            self._drop(metadata["uid"])
            return
        self._store(CacheEntry(key, metadata["uid"], namespace, metadata["name"], version_of(metadata), view))

    def remove(self, item: Manifest) -> None:
        """Take out an object that is gone; an answer about it may still be under way."""
        self._bury(item["metadata"]["uid"])

    def replace(self, fresh: Self, version: int, namespace: str | None) -> None:
        """Take over a list: what it does not have is gone, but for what came in after the list's version.

        Args:
            fresh: all that was listed.
            version: of the list. Below that of the list before, the cluster was restored from a backup, and nothing
                that was known of it counts.
            namespace: that was listed, None for all.
        """
        is_restored = version < self.listed_versions.get(namespace, 0)
        self.listed_versions[namespace] = version
        for uid, entry in list(self.by_uid.items()):
            is_listed = namespace in {None, entry.namespace}
            if is_listed and uid not in fresh.by_uid and (is_restored or entry.version <= version):
                self._bury(uid)
        for uid, entry in fresh.by_uid.items():
            known = self.by_uid.get(uid)
            if known is None or is_restored or entry.version >= known.version:
                self._store(entry)

    def _store(self, entry: CacheEntry[Key, View]) -> None:
        """Put an entry in its places, that of what it replaces: itself as it was, or a namesake that is gone by now."""
        before = self.by_uid.get(entry.uid)
        if before is not None and before.key != entry.key:
            self._drop(entry.uid)  # somebody has given it to another job
        names = self.by_key.setdefault(entry.key, {})
        replaced = names.get(entry.name)
        if replaced is not None:
            del self.by_uid[replaced.uid]
        names[entry.name] = self.by_uid[entry.uid] = entry
        if replaced is None or replaced.view != entry.view:
            self.changed(entry.key)

    def _bury(self, uid: str) -> None:
        """Take an object out for good."""
        self.tombstones[uid] = None
        if len(self.tombstones) > TOMBSTONES:
            del self.tombstones[next(iter(self.tombstones))]
        self._drop(uid)

    def _drop(self, uid: str) -> None:
        """Take an object out."""
        entry = self.by_uid.pop(uid, None)
        if entry is None:
            return
        names = self.by_key[entry.key]
        del names[entry.name]
        if not names:
            del self.by_key[entry.key]
        self.changed(entry.key)


def version_of(metadata: Manifest) -> int:
    """Order of an object's states; Kubernetes promises that these can be compared as numbers since 1.35."""
    text = str(metadata.get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
