"""How fast jobs become pods, at what cost: `python bench_operator.py`.

On a real control plane without nodes: from the API server's answer to a job's creation until its answer to the creation
of the job's last pod, both from the audit log. Beside ours stands a toy that creates pods and does nothing else, in the
same run on the same machine.
"""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arcface_operator.kubernetes.client import collection
from arcface_operator.kubernetes.election import API_VERSION, LEASE_NAME
from support.builders.jobs import job_document
from support.processes.operator_process import (
    DEFAULTS,
    GROUPS,
    NAMESPACE,
    USER,
    OperatorProcess,
    grant_rights,
    serve_jobs,
)
from testbed.control_plane.claims import bind_empty_claim
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import Pods, own_namespace, shell_pod

SIZES = [(1, 8, 30), (1, 64, 12), (1, 512, 4), (200, 8, 1), (1, 4096, 1)]
"""Jobs at once, pods of each, repetitions."""
FULL_JOBS, FULL_PODS = 1000, 8
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
CHILDREN = {"pods", "services", "configmaps"}


class Bench:
    """A control plane and one operator at a time."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.api = plane.admin

    def seconds(self, jobs: int, pods: int, number: int) -> tuple[float, list[dict]]:
        """Time until all pods of some jobs exist, and the operator's requests."""
        since = self.plane.audit_log.size()
        with own_namespace(self.api, f"bench-{jobs}-{pods}-{number}-{time.time_ns() % 10**6}") as place:
            self.furnish(place)
            self.create(place.namespace, jobs, pods)
            look_until(lambda: self.created(since, place.namespace) == jobs * pods, seconds=600)
            look_until(lambda: self.is_quiet(since, place.namespace), seconds=60)
            made = self.plane.audit(since)
            self.clear(place)
        of_place = [request for request in made if request["namespace"] == place.namespace]
        began = min(stamp(r) for r in of_place if (r["verb"], r["resource"]) == ("create", "arcfacetrainingjobs"))
        ended = max(stamp(r) for r in of_place if (r["verb"], r["resource"]) == ("create", "pods"))
        return ended - began, [request for request in of_place if request["user"] == USER]

    def furnish(self, place: Pods) -> None:
        """What jobs need; the toy does not try again where the API server does not know the account yet."""
        for claim in ("faces", "checkpoints"):
            bind_empty_claim(self.api, place.namespace, claim)
        probe = shell_pod("probe", "true")
        look_until(lambda: self.api.post(place.path, params={"dryRun": "All"}, json=probe).is_success, seconds=30)

    def create(self, namespace: str, jobs: int, pods: int) -> None:
        path = f"/apis/arcface.io/v1alpha1/namespaces/{namespace}/arcfacetrainingjobs"
        for number in range(jobs):
            document = job_document(f"job-{number}", workers={"accelerator": "cpu", "replicas": pods})
            self.api.post(path, json=document).raise_for_status()

    def created(self, since: int, namespace: str) -> int:
        made = self.plane.audit(since, USER)
        return sum(
            (r["verb"], r["resource"], r["namespace"], r["code"]) == ("create", "pods", namespace, 201) for r in made
        )

    def clear(self, place: Pods) -> None:
        """Delete the jobs and wait for what goes with them: it is not the next one's affair."""
        path = f"/apis/arcface.io/v1alpha1/namespaces/{place.namespace}/arcfacetrainingjobs"
        self.api.delete(path).raise_for_status()
        look_until(lambda: not self.api.get(place.path, params={"limit": 1}).json()["items"], seconds=600)

    def is_quiet(self, since: int, namespace: str) -> bool:
        """Whether the operator has asked for nothing in a namespace for a second."""
        made = self.plane.audit(since, USER)
        last = max(stamp(request) for request in made if request["namespace"] == namespace)
        return time.time() - last > 1


def look_until(condition: Callable[[], bool], seconds: float) -> None:
    """Look now and then: the log is long, and whoever reads it takes the operator's cores."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        if time.monotonic() > deadline:
            sys.exit(f"not done within {seconds} s")
        time.sleep(max(0.3, 5 * (time.monotonic() - began)))


def stamp(request: dict) -> float:
    return datetime.fromisoformat(request["at"]).timestamp()


def measure(bench: Bench, name: str, pid: Callable[[], int]) -> dict[tuple[int, int], float]:
    medians = {}
    for jobs, pods, repetitions in SIZES:
        before = cpu_seconds(pid())
        runs = [bench.seconds(jobs, pods, number) for number in range(repetitions)]
        times = sorted(run[0] for run in runs)
        requests = [request for run in runs for request in run[1]]
        writes = [r for r in requests if r["is_write"]]
        own = [r for r in writes if r["verb"] != "create" or r["resource"] not in CHILDREN]
        own = [r for r in own if not (r["verb"] == "patch" and r["resource"] in CHILDREN - {"pods"})]
        total = jobs * repetitions
        medians[jobs, pods] = statistics.median(times)
        slowest = quantile(times, 0.99)
        print(
            f"{name:5s} {jobs:4d} x {pods:3d}: p50 {medians[jobs, pods] * 1000:6.0f} ms, p99 {slowest * 1000:6.0f} ms"
            f" of {repetitions} runs; {jobs / medians[jobs, pods] * 60:6.0f} jobs/min;"
            f" {len(requests) / total:6.1f} requests a job, {len(own) / total:.1f} writes beside its children;"
            f" {(cpu_seconds(pid()) - before) / total * 1000:6.1f} ms CPU a job; {rss(pid())} MiB",
            flush=True,
        )
    return medians


def quantile(times: list[float], share: float) -> float:
    """Interpolated between neighbours: of a few runs, the 99th percentile is all but the slowest."""
    place = share * (len(times) - 1)
    low = math.floor(place)
    high = min(low + 1, len(times) - 1)
    return times[low] + (times[high] - times[low]) * (place - low)


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE // 2**20


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def toy(plane: ControlPlane) -> Iterator[subprocess.Popen]:
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig(USER, (*GROUPS, "system:masters")))}
    script = Path(__file__).with_name("kopf_toy.py")
    with subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.DEVNULL) as process:
        yield process
        process.terminate()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ControlPlane(Path(folder), is_audited=True) as plane:
        serve_jobs(plane)
        grant_rights(plane)
        bench = Bench(plane)
        with toy(plane) as process:
            floor = measure(bench, "toy", lambda: process.pid)
        since = plane.audit_log.size()
        with OperatorProcess(plane, Path(folder) / "operator", settings=DEFAULTS) as operator:
            operator.wait_until_it_leads()
            ours = measure(bench, "ours", lambda: operator.process.pid)
            for size, seconds in ours.items():
                print(f"{size[0]} x {size[1]}: {seconds / floor[size]:.2f} times the toy")
            full(bench, operator)
            tell_of_leadership(plane, since)


def tell_of_leadership(plane: ControlPlane, since: int) -> None:
    """Whether the Lease was always renewed in time, as the API server saw it: another would take it after 15 s."""
    made = [request for request in plane.audit(since, USER) if request["resource"] == "leases"]
    renewals = [stamp(request) for request in made if (request["verb"], request["code"]) == ("update", 200)]
    gaps = sorted(later - earlier for earlier, later in pairwise(renewals))
    lease = plane.admin.get(f"{collection(API_VERSION, 'leases', NAMESPACE)}/{LEASE_NAME}").raise_for_status().json()
    print(
        f"leadership lost {lease['spec']['leaseTransitions']} times; {len(renewals)} renewals,"
        f" from one to the next p50 {statistics.median(gaps):.2f} s, p99 {quantile(gaps, 0.99):.2f} s,"
        f" at most {gaps[-1]:.2f} s"
    )


def full(bench: Bench, operator: OperatorProcess) -> None:
    """Memory with a large cluster's jobs."""
    since = bench.plane.audit_log.size()
    with own_namespace(bench.api, "full") as place:
        bench.furnish(place)
        began = time.monotonic()
        bench.create(place.namespace, FULL_JOBS, FULL_PODS)
        look_until(lambda: bench.created(since, place.namespace) == FULL_JOBS * FULL_PODS, seconds=900)
        made = time.monotonic() - began
        # The scheduler finds no room for one pod after the other, and each job tells of it once a minute at most.
        look_until(lambda: bench.is_quiet(since, place.namespace), seconds=600)
        print(
            f"{FULL_JOBS} jobs, {FULL_JOBS * FULL_PODS} pods after {made:.0f} s, at rest after"
            f" {time.monotonic() - began:.0f} s: {rss(operator.process.pid)} MiB"
        )


if __name__ == "__main__":
    main()
