"""One kind of children of all jobs, wherever the operator looks."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from arcface_operator.kubernetes.client import Api, collection
from arcface_operator.kubernetes.reflector import Key, Reflector
from arcface_operator.manifests.metadata import Manifest

View = TypeVar("View")


class Children(Generic[View]):
    """A reflector for the whole cluster, or one for each namespace."""

    def __init__(
        self,
        api: Api,
        resource: tuple[str, str],
        view: Callable[[Manifest], View],
        changed: Callable[[Key], None],
        namespaces: Sequence[str],
    ) -> None:
        places: Sequence[str | None] = namespaces or (None,)
        self.reflectors = {place: Reflector(api, collection(*resource, place), view, changed) for place in places}

    def of(self, key: Key) -> list[View]:
        """A job's children."""
        found = self.reflector(key[0])
        return [] if found is None else found.of(key)

    def note(self, item: Manifest) -> None:
        """Take in an object that we have just made."""
        found = self.reflector(item["metadata"]["namespace"])
        if found is not None:
            found.note(item)

    def reflector(self, namespace: str) -> Reflector[View] | None:
        """Who looks at a namespace."""
        return self.reflectors.get(namespace) or self.reflectors.get(None)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to look."""
        for reflector in self.reflectors.values():
            tasks.create_task(reflector.run())

    @property
    def is_listed(self) -> bool:
        """Whether all have been seen once."""
        return all(reflector.is_listed.is_set() for reflector in self.reflectors.values())

    async def listed(self) -> None:
        """Until all have been seen once."""
        await asyncio.gather(*(reflector.is_listed.wait() for reflector in self.reflectors.values()))
