"""Pods of a test: created, watched until they end, and read."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from support.waiting import wait_until
from testbed.control_plane.api_answers import answer, found
from testbed.images.oci_images import BUSYBOX_IMAGE

ENDED = {"Succeeded", "Failed"}
POLL_SECONDS = 0.02
MERGE = {"content-type": "application/merge-patch+json"}


class Pods:
    """The pods of one namespace."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.path = f"/api/v1/namespaces/{namespace}/pods"

    def create(self, pod: dict[str, Any]) -> str:
        """Create a pod; its name."""
        return str(answer(self.api.post(self.path, json=pod))["metadata"]["name"])

    def read(self, name: str) -> Any:
        """A pod as the API server has it."""
        return answer(self.api.get(f"{self.path}/{name}"))

    def wait_for(self, name: str, phase: str, seconds: float = 60.0) -> Any:
        """The pod once it is in this phase; an AssertionError with its status and log if it does not get there."""
        deadline = time.monotonic() + seconds
        while (pod := self.read(name))["status"]["phase"] != phase:
            is_late = time.monotonic() > deadline
            if is_late or pod["status"]["phase"] in ENDED:
                late = f", not {phase} after {seconds:.0f} s" if is_late else f", not {phase}"
                status = json.dumps(pod["status"], indent=2)
                raise AssertionError(f"{name} is {pod['status']['phase']}{late}: {status}\n{self.log(name)}")
            time.sleep(POLL_SECONDS)
        return pod

    def ending(self, name: str) -> Any:
        """How the first container of an ended pod ended: exitCode, reason and message."""
        return self.read(name)["status"]["containerStatuses"][0]["state"]["terminated"]

    def log(self, name: str) -> str:
        """What the pod's container printed; empty if it never ran."""
        return self.api.get(f"{self.path}/{name}/log").text

    @contextmanager
    def log_lines(self, name: str) -> Iterator[Iterator[str]]:
        """The lines of a running pod's log as they come."""
        with self.api.stream("GET", f"{self.path}/{name}/log", params={"follow": True}) as response:
            yield response.iter_lines()

    def annotate(self, name: str, **annotations: str) -> None:
        """Set annotations of a pod."""
        patch = {"metadata": {"annotations": annotations}}
        answer(self.api.patch(f"{self.path}/{name}", content=json.dumps(patch), headers=MERGE))

    def delete(self, name: str, grace_seconds: int = 0) -> None:
        """Delete a pod and wait until it is gone."""
        answer(self.api.delete(f"{self.path}/{name}", params={"gracePeriodSeconds": grace_seconds}))
        wait_until(lambda: found(self.api.get(f"{self.path}/{name}")) is None)


@contextmanager
def own_namespace(api: httpx.Client, name: str) -> Iterator[Pods]:
    """The pods of a new namespace, which goes with everything in it."""
    answer(api.post("/api/v1/namespaces", json={"metadata": {"name": name}}))
    # No pod can be created before this account exists.
    wait_until(lambda: found(api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default")))
    try:
        yield Pods(api, name)
    finally:
        found(api.delete(f"/api/v1/namespaces/{name}"))  # a test may have deleted it


def shell_pod(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A pod that runs a busybox script; container fields may be given as `container={...}`."""
    container = {
        "name": "main",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        **spec.pop("container", {}),
    }
    defaults = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {**defaults, **spec, "containers": [container]}}
