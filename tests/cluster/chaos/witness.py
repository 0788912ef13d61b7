"""Sees every version of all jobs and pods, and holds them to what must never be false."""

import json
import threading
import time
from collections import defaultdict
from typing import Any, Self

import httpx

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, RANK_INDEX_LABEL
from arcface_api.names import API_VERSION, PLURAL
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.fake_nodes.scripts import label_of

JOBS, PODS = f"/apis/{API_VERSION}/{PLURAL}", "/api/v1/pods"
RISING = ("attempt", "restarts", "countedRestarts", "forgivenRestarts")
ENDED = {"Succeeded", "Failed"}
Manifest = dict[str, Any]


class Witness:
    """Watches while the context is open."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api
        self.broken: dict[str, list[str]] = defaultdict(list)
        """By namespace."""
        self.histories: dict[str, list[str]] = defaultdict(list)
        """Phases and attempts of jobs as they came, by namespace."""
        self.statuses: dict[str, Manifest] = {}
        """Newest status of a job by its uid."""
        self.pods: dict[str, Manifest] = {}
        """By uid."""
        self.is_over = threading.Event()

    def __enter__(self) -> Self:
        paths = ((JOBS, self._see_job), (PODS, self._see_pod))
        self.threads = [threading.Thread(target=self._follow, args=each, daemon=True) for each in paths]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def _follow(self, path: str, see: Any) -> None:
        wait_until(lambda: self.api.get(path).is_success)  # a kind that is new is not served at once
        version = answer(self.api.get(path))["metadata"]["resourceVersion"]
        while not self.is_over.is_set():
            query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "5"}
            with self.api.stream("GET", path, params=query) as reply:
                for line in reply.iter_lines():
                    event = json.loads(line)
                    assert event["type"] != "ERROR", event
                    version = event["object"]["metadata"]["resourceVersion"]
                    see(event["type"], event["object"])

    def _say(self, manifest: Manifest, sentence: str) -> None:
        self.broken[manifest["metadata"]["namespace"]].append(sentence)

    def _see_job(self, kind: str, job: Manifest) -> None:
        """Counters and the checkpoint never go back, an end is never left, conditions say what the phase says."""
        uid, status = job["metadata"]["uid"], job.get("status", {})
        before = self.statuses.get(uid, {})
        if kind == "DELETED":
            self.statuses.pop(uid, None)
            return
        for name in RISING:
            if status.get(name, 0) < before.get(name, 0):
                self._say(job, f"{name} went from {before[name]} to {status.get(name, 0)}")
        steps = [each.get("checkpoint", {}).get("step", 0) for each in (before, status)]
        if steps[1] < steps[0]:
            self._say(job, f"the checkpoint went from step {steps[0]} to {steps[1]}")
        if before.get("phase") in ENDED and status.get("phase") != before["phase"]:
            self._say(job, f"{before['phase']} was left for {status.get('phase')}")
        for sentence in untrue_conditions(status):
            self._say(job, sentence)
        self.statuses[uid] = status
        line = f"{time.strftime('%H:%M:%S')} {status.get('phase')} attempt {status.get('attempt', 0)}"
        told = self.histories[job["metadata"]["namespace"]]
        if not told or told[-1][9:] != line[9:]:
            told.append(line)

    def _see_pod(self, kind: str, pod: Manifest) -> None:
        """No rank of an attempt runs beside one of another."""
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            self.pods.pop(uid, None)
            return
        self.pods[uid] = pod
        if not _is_alive(pod):
            return
        for other in self.pods.values():
            is_near = other["metadata"]["namespace"] == pod["metadata"]["namespace"] and other is not pod
            if is_near and _is_alive(other) and _owner(other) == _owner(pod):
                self._compare(pod, other)

    def _compare(self, pod: Manifest, other: Manifest) -> None:
        if label_of(pod, ATTEMPT_LABEL) != label_of(other, ATTEMPT_LABEL):
            self._say(pod, f"{_told(pod)} lives beside {_told(other)}")
        elif label_of(pod, RANK_INDEX_LABEL) == label_of(other, RANK_INDEX_LABEL):
            self._say(pod, f"{_told(pod)} is doubled by {_told(other)}")


def _owner(pod: Manifest) -> str:
    return str((pod["metadata"].get("ownerReferences") or [{}])[0].get("uid"))


def _is_alive(pod: Manifest) -> bool:
    """A pod of a gang that has not ended; one that was told to end lives until it has."""
    return bool(label_of(pod, RANK_INDEX_LABEL)) and pod["status"].get("phase") not in ENDED


def _told(pod: Manifest) -> str:
    return f"{pod['metadata']['name']} of attempt {label_of(pod, ATTEMPT_LABEL)}"


def untrue_conditions(status: Manifest) -> list[str]:
    """Conditions against the rest of the status: what each says must have happened."""
    truth = {item["type"]: item["status"] == "True" for item in status.get("conditions", [])}
    phase = status.get("phase")
    facts = {
        "Complete": phase == "Succeeded",
        "Failed": phase == "Failed",
        "CheckpointAvailable": "checkpoint" in status,
        "Suspended": phase == "Suspended",
    }
    wrong = [name for name, fact in facts.items() if truth.get(name, False) != fact]
    if truth.get("Training") and phase not in {"Training"}:
        wrong.append("Training")
    return [f"{name} is {truth.get(name)} in phase {phase}" for name in wrong]
