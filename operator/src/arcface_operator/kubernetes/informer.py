"""One kind of objects, wherever the operator looks: a cache, and a reflector for each namespace or one for all."""

import asyncio
from collections.abc import Sequence
from typing import Generic

from arcface_api.contract.pod_environment import MANAGER, MANAGER_LABEL
from arcface_operator.kubernetes.cache import Cache, Key, View
from arcface_operator.kubernetes.client import Api, collection
from arcface_operator.kubernetes.reflector import Reflector
from arcface_operator.manifests.metadata import Manifest

OUR_OWN = f"{MANAGER_LABEL}={MANAGER}"
"""Selects our children."""
Place = str | None
"""A namespace, None for all of them."""


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

    async def has_listed(self, namespace: str) -> bool:
        """Whether the objects of a namespace have been seen, once they have been asked for."""
        reflector = self.reflectors.get(namespace) or self.reflectors[None]
        await reflector.has_tried.wait()
        return reflector.is_listed.is_set() and not reflector.is_refused

    @property
    def is_settled(self) -> bool:
        """Whether all that may be looked at has been seen once, and there is any."""
        reflectors = self.reflectors.values()
        are_known = all(reflector.is_listed.is_set() or reflector.is_refused for reflector in reflectors)
        return are_known and any(reflector.is_listed.is_set() for reflector in reflectors)
