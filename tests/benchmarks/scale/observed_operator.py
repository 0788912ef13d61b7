"""`arcface operator` as it is shipped, which also tells of itself: `observed_operator.py FILE operator ...`.

FILE gets lines of JSON: once a second what the process uses and keeps, and each failed pod and each status as they come
in. It starts with as many open files as containerd 2 gives a container: 1,024, which the process may raise itself.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from arcface_operator.commands import operator as command
from arcface_operator.controller import operator as controller

SOFT_FILES = 1024
TURN_SECONDS, SAMPLE_SECONDS, PSS_SECONDS = 0.02, 1.0, 10.0
PAGE = os.sysconf("SC_PAGE_SIZE")
FIGURES = ("progress", "workers", "rankTable", "checkpoint", "evaluationProgress")
Manifest = dict[str, Any]


class Notebook:
    """What is told."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.statuses: dict[str, Manifest] = {}
        """Newest status that was seen of each job, by uid."""
        self.versions: dict[str, str] = {}
        self.writes: Counter[tuple[str, bool]] = Counter()
        """Statuses by uid and whether only figures were new."""
        self.failed: set[str] = set()
        """Uids of pods."""

    def tell(self, kind: str, **fields: Any) -> None:
        """One line."""
        self.file.write(json.dumps({"kind": kind, "at": time.time(), **fields}) + "\n")

    def see_pod(self, pod: Manifest) -> None:
        """A pod that has failed, when it is first heard of."""
        metadata = pod["metadata"]
        if pod.get("status", {}).get("phase") == "Failed" and metadata["uid"] not in self.failed:
            self.failed.add(metadata["uid"])
            self.tell("failed", namespace=metadata["namespace"], name=metadata["name"])

    def forget_pod(self, pod: Manifest) -> None:
        """A pod that is gone."""
        self.failed.discard(pod["metadata"]["uid"])

    def see_job(self, job: Manifest) -> None:
        """A status that is new: an answer to a write, or the event of it, whichever comes first."""
        metadata, status = job["metadata"], job.get("status", {})
        uid, before = metadata["uid"], self.statuses.get(metadata["uid"], {})
        if self.versions.get(uid) == metadata["resourceVersion"]:
            return
        is_known = uid in self.versions
        self.versions[uid], self.statuses[uid] = metadata["resourceVersion"], status
        if status != before:
            self.writes[uid, essence(status) == essence(before)] += 1
        if is_known and status.get("restarts", 0) > before.get("restarts", 0):
            self.tell("restarted", namespace=metadata["namespace"], name=metadata["name"])

    def end_job(self, job: Manifest) -> None:
        """A job that is gone, which both an answer and an event may tell."""
        metadata = job["metadata"]
        uid, status = metadata["uid"], self.statuses.pop(metadata["uid"], {})
        if self.versions.pop(uid, None) is None:
            return
        writes = {
            name: self.writes.pop((uid, is_figures), 0) for name, is_figures in (("own", False), ("figures", True))
        }
        known = {name: status.get(name, 0) for name in ("attempt", "restarts")}
        self.tell("ended", name=metadata["name"], phase=status.get("phase"), **known, **writes)


def essence(status: Manifest) -> Manifest:
    """A status without its figures and the wording of its conditions, which the operator writes now and then."""
    conditions = [{**item, "message": ""} for item in status.get("conditions", [])]
    return {**{name: value for name, value in status.items() if name not in FIGURES}, "conditions": conditions}


class ObservedOperator(controller.Operator):
    """One replica, under observation."""

    notebook: Notebook

    def begin(self) -> None:
        """Work, and tell of it."""
        self.listen()
        super().begin()
        self.observation = asyncio.create_task(self.observe())

    def listen(self) -> None:
        """Hear of pods and jobs what the caches hear."""
        pods, jobs = self.watches.pods.cache, self.watches.jobs.cache
        pods.view = both(self.notebook.see_pod, pods.view)
        pods.remove = both(self.notebook.forget_pod, pods.remove)
        jobs.view = both(self.notebook.see_job, jobs.view)
        jobs.remove = both(self.notebook.end_job, jobs.remove)

    async def observe(self) -> None:
        """Sample once a second; the loop's lag is how late it comes to what is due in 20 ms."""
        lags, due, next_pss = [], time.monotonic() + SAMPLE_SECONDS, 0.0
        while True:
            began = time.monotonic()
            await asyncio.sleep(TURN_SECONDS)
            now = time.monotonic()
            lags.append(now - began - TURN_SECONDS)
            if now < due:
                continue
            sample = {"lag": max(lags), "lags": sum(lags) / len(lags), **process_use(), "kept": self.kept()}
            if now >= next_pss:
                sample |= {"pss": pss(), "blocks": sys.getallocatedblocks(), "phases": self.phases()}
                next_pss = now + PSS_SECONDS
            self.notebook.tell("sample", **sample)
            self.notebook.file.flush()
            lags, due = [], time.monotonic() + SAMPLE_SECONDS

    def kept(self) -> dict[str, int]:
        """How many objects are kept, by what they are."""
        kinds = ("jobs", "pods", "services", "config_maps", "claims", "nodes")
        caches = {kind: len(getattr(self.watches, kind).cache.by_uid) for kind in kinds}
        queue, poller, listener = self.queue, self.poller, self.listener
        slots = self.reconciler.executor.api.semaphore.waiting
        return caches | {
            "keys": sum(len(getattr(self.watches, kind).cache.by_key) for kind in kinds[:4]),
            "tombstones": sum(len(getattr(self.watches, kind).cache.tombstones) for kind in kinds),
            "parsed jobs": len(self.watches.store.parsed),
            "trackers": len(self.reconciler.trackers),
            "timers": len(queue.timers),
            "due": queue.due.qsize() + len(queue.waiting) + len(queue.busy) + len(queue.again),
            "answers": len(poller.answers) + len(poller.last) + len(poller.polls),
            "listeners": len(listener.tasks) + len(listener.words),
            "requests waiting": sum(len(turns) for flows in slots.values() for turns in flows.values()),
            "tasks": len(asyncio.all_tasks()),
        }

    def phases(self) -> dict[str, int]:
        """Jobs by phase."""
        return dict(Counter(job.get("status", {}).get("phase", "") for job in self.watches.store.cache))


def both(first: Callable[[Manifest], None], second: Callable[[Manifest], Any]) -> Callable[[Manifest], Any]:
    """Two functions of a manifest, of which the second counts."""

    def call(item: Manifest) -> Any:
        first(item)
        return second(item)

    return call


def process_use() -> dict[str, float]:
    """Memory in bytes, processor time in seconds, open files."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    return {"rss": resident, "cpu": time.process_time(), "files": sum(1 for _ in Path("/proc/self/fd").iterdir())}


def pss() -> int:
    """Bytes of memory, those that are shared by their share."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main() -> None:
    """Run the command under observation."""
    file, _, *arguments = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT_FILES, most))
    with Path(file).open("a") as notes:
        ObservedOperator.notebook = Notebook(notes)
        controller.Operator = ObservedOperator
        command.operator(arguments)


if __name__ == "__main__":
    main()
