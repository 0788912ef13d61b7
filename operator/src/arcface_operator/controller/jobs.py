"""What a replica holds of all jobs: their newest manifests, a queue of those to look at, and a tracker for each.

A manifest is taken in by watching or as the answer to a write: the newer of the two counts. A job is looked at at most
once at a time, and again if something came in meanwhile.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import without_newer_values, without_newer_words
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.kubernetes.cache import Cache
from arcface_operator.kubernetes.client import JobRef
from arcface_operator.kubernetes.priority_semaphore import FLOW
from arcface_operator.manifests.metadata import Manifest

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0
LONGEST_WISH_SECONDS = 600.0
"""Of a server that asks for time (Retry-After)."""
MOST_DOUBLINGS = 30
"""Beyond the longest pause: 1,024 would be more than a number holds, which an outage of 17 hours comes to."""
DEBOUNCE_SECONDS = 0.05
"""A gang's pods change together: one look for all of them."""


class JobStore:
    """Manifests of all jobs; the newest of each counts, whoever brings it."""

    def __init__(self, changed: Callable[[JobRef], None] = lambda _: None) -> None:
        self.cache = Cache(JobRef.of, _without_managers, changed)
        self.parsed: dict[JobRef, tuple[Manifest, ArcFaceTrainingJob]] = {}
        """Jobs, with the manifests that they were read from: most looks are about pods."""

    def job(self, ref: JobRef) -> ArcFaceTrainingJob | None:
        """A job as it is in its newest manifest; None where there is none.

        Raises:
            InvalidInput: for a value that this release does not know.
        """
        body = self.body(ref)
        if body is None:
            self.parsed.pop(ref, None)
            return None
        known = self.parsed.get(ref)
        if known is not None and known[0] is body:
            return known[1]
        job = parse_job(body)
        self.parsed[ref] = body, job
        return job

    def body(self, ref: JobRef) -> Manifest | None:
        """The newest manifest of a job."""
        return next(iter(self.cache.of(ref)), None)

    def upsert(self, body: Manifest) -> None:
        """Take in the answer to a write."""
        self.cache.upsert(body)

    def delete(self, body: Manifest) -> None:
        """The job is gone, unless another of its name has come."""
        self.cache.remove(body)


def _without_managers(body: Manifest) -> Manifest:
    """A manifest without its lists of managed fields, which are longer than the rest and tell us nothing."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {**body, "metadata": metadata}


def parse_job(body: Manifest) -> ArcFaceTrainingJob:
    """The job in a manifest, which a newer API server or operator may have given fields that are not known here.

    Raises:
        InvalidInput: for a value that this release does not know.
    """
    status = without_newer_words(body.get("status", {}))
    try:
        return _read_job(body, status)
    except InvalidInput:
        return _read_job(body, without_newer_values(status))


def _read_job(body: Manifest, status: Manifest) -> ArcFaceTrainingJob:
    """The job in a manifest, with this status."""
    return ArcFaceTrainingJob.from_ours(json.dumps({**body, "status": status}), str(JobRef.of(body)))


class WorkQueue:
    """Jobs that are due, and timers of those that will be."""

    def __init__(self) -> None:
        self.due: asyncio.Queue[JobRef] = asyncio.Queue()
        self.waiting: set[JobRef] = set()
        self.busy: set[JobRef] = set()
        self.again: set[JobRef] = set()
        self.timers: dict[JobRef, asyncio.TimerHandle] = {}

    def wake(self, ref: JobRef, seconds: float = DEBOUNCE_SECONDS) -> None:
        """Have the job looked at after this time, or earlier if that was asked for already."""
        if seconds <= 0:
            self._put(ref)
            return
        loop = asyncio.get_running_loop()
        timer = self.timers.get(ref)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self.timers[ref] = loop.call_later(seconds, self._put, ref)

    def _put(self, ref: JobRef) -> None:
        """The job is due."""
        if (timer := self.timers.pop(ref, None)) is not None:
            timer.cancel()
        if ref in self.busy:
            self.again.add(ref)
        elif ref not in self.waiting:
            self.waiting.add(ref)
            self.due.put_nowait(ref)

    async def work(self, handle: Callable[[JobRef], Awaitable[None]]) -> None:
        """Handle jobs until cancelled; several workers may share the queue."""
        while True:
            ref = await self.due.get()
            self.waiting.discard(ref)
            self.busy.add(ref)
            FLOW.set(ref)
            try:
                await handle(ref)
            finally:
                self.busy.discard(ref)
                if ref in self.again:
                    self.again.discard(ref)
                    self._put(ref)


@dataclass
class JobTracker:
    """One job's."""

    ref: JobRef
    since: datetime
    """Since when this replica watches it: when it first looked at it, or had last lost sight of its pods."""
    uid: str | None = None
    """The job's, once it has been looked at."""
    manifest: Manifest = field(default_factory=dict)
    """The job's as the present look decides on it: a status is written onto no other one."""
    stuck_since: dict[str, datetime] = field(default_factory=dict)
    """Of its pods, by uid, that say they can never start."""
    cards_unread_since: datetime | None = None
    """Since when an error has kept faults of cards from us that a decision asks for."""
    polled_at: float | None = None
    """By the monotonic clock: when rank 0 was last asked."""
    written_at: float | None = None
    """By the monotonic clock: when the status was last written."""
    failures: int = 0
    """Looks in a row that failed."""
    failed: tuple[ActionFailure, ...] = ()
    """Actions that came to nothing when they were last tried."""
    retry_at: float = 0.0
    """By the monotonic clock: before that they are not tried again, whatever happens meanwhile."""
    vain_tries: int = 0
    """In a row."""

    def count_failure(self, wish_seconds: float | None = None) -> float:
        """Take note of a look that failed; seconds until the next, each time in a row later or as a server wishes."""
        self.failures += 1
        seconds = min(FIRST_RETRY_SECONDS * 2.0 ** min(self.failures - 1, MOST_DOUBLINGS), LAST_RETRY_SECONDS)
        return max(seconds, min(wish_seconds or 0.0, LONGEST_WISH_SECONDS))

    def count_vain_try(self, failed: Sequence[ActionFailure], check_seconds: float) -> float:
        """Take note of actions that failed; seconds until the next try, each time in a row later.

        What is refused needs somebody to change something; what a busy server asks for is given to it.
        """
        first = check_seconds if any(item.is_lasting for item in failed) else FIRST_RETRY_SECONDS
        seconds = min(first * 2.0 ** min(self.vain_tries, MOST_DOUBLINGS), max(LAST_RETRY_SECONDS, first))
        self.vain_tries += 1
        wish = max((item.retry_after_seconds or 0.0 for item in failed), default=0.0)
        return max(seconds, min(wish, LONGEST_WISH_SECONDS))
