"""An operator that dies after its writes: the process is killed before it hears of the answer, another takes its place.

    with MortalOperator([operator], [proxy], Deaths(every=4)): ...

Where the operators are of two releases, every death is an upgrade or the way back, in the middle of whatever was done.
"""

import itertools
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from arcface_api.names import KIND
from support.fakes.api_proxy import ApiProxy
from support.processes.operator_process import OperatorProcess


@dataclass(frozen=True)
class Deaths:
    """After which of its changes the operator dies; one that is done again after a death is another one."""

    every: int
    first: int = 1
    and_after: str = "never"
    """Pattern of writes, method and path, that it dies after in any case: some come in step and never in turn."""

    def is_due(self, number: int, write: str, document: Mapping[str, Any]) -> bool:
        """Whether it dies after this write, which are counted from 1; the verdict is one to die after in any case."""
        if number < self.first:
            return False
        return (
            (number - self.first) % self.every == 0
            or is_verdict(document)
            or re.search(self.and_after, write) is not None
        )


VERDICT = "verdict"
NEVER = Deaths(every=1, first=10**9)


def is_verdict(document: Mapping[str, Any]) -> bool:
    """Whether what was written is a job that has ended, with its pods yet to be removed."""
    return document.get("kind") == KIND and document["status"].get("phase") in {"Succeeded", "Failed"}


def kind_of(write: str) -> tuple[str, str, str]:
    """Method, resource and subresource of a write in a namespace; empty where it has none."""
    method, path = write.split()
    resource, *rest = path.partition("/namespaces/")[2].split("/")[1:]
    return method, resource, "/".join(rest[1:])


EVERY = 4
"""Less would be too few: whoever begins while a gang is made writes the status and the rank table anew."""


RARE = "/services|POST .*/configmaps$|PATCH .*/pods/"
"""Writes that a life has so few of that they may be in nobody's turn."""


def spread() -> list[Deaths]:
    """Lives that die after each write between them, each with some writes in peace before it dies again."""
    return [Deaths(EVERY, and_after=RARE), *(Deaths(EVERY, first) for first in range(2, EVERY + 1))]


class MortalOperator:
    """The operators of one life, one of which runs at a time, each by way of a proxy of its own."""

    def __init__(self, operators: Sequence[OperatorProcess], proxies: Sequence[ApiProxy], deaths: Deaths) -> None:
        self.successors = itertools.cycle(operators)
        self.deaths = deaths
        self.writes: list[str] = []
        """Method and path of all that changed something."""
        self.died_after: list[str] = []
        """Method and path of the writes, or VERDICT."""
        self.versions: set[str] = set()
        """Of objects as they were written: all changes of a cluster have versions of their own."""
        self.lock = threading.Lock()
        self.is_over = False
        for operator, proxy in zip(operators, proxies, strict=True):
            operator.kubeconfig = proxy.kubeconfig(Path(operator.log).with_name("kubeconfig"))
            proxy.on_write = self.survive

    def __enter__(self) -> Self:
        self.present = next(self.successors)
        self.present.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.lock:
            self.is_over = True  # a write from now on must not start an operator that nobody ends
        self.present.kill()

    def survive(self, write: str, answer: bytes) -> None:
        """A write was answered, and whoever sent it may not live to hear of it.

        One that changed nothing does not count: it is applied again by everyone who begins.
        """
        document = json.loads(answer)
        version = document.get("metadata", {}).get("resourceVersion")
        with self.lock:
            if version in self.versions:
                return
            if version is not None:
                self.versions.add(version)
            self.writes.append(write)
            if self.is_over or not self.deaths.is_due(len(self.writes), write, document):
                return
            self.present.kill()
            self.died_after.append(VERDICT if is_verdict(document) else write)
            self.present = next(self.successors)
            self.present.start()
