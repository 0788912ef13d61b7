"""Sees every version of all jobs, pods and rank tables, through whatever befalls the API server."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import httpx

from arcface_api.names import API_VERSION, PLURAL
from cluster.chaos.account import Account
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer

OURS = {"labelSelector": "app.kubernetes.io/managed-by=arcface-operator"}
Manifest = dict[str, Any]
See = Callable[[str, Manifest], None]


class Witness:
    """Watches while the context is open."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api
        self.accounts: dict[str, Account] = {}
        """By namespace."""
        self.is_over = threading.Event()

    def __enter__(self) -> Self:
        watched: dict[str, See] = {
            f"/apis/{API_VERSION}/{PLURAL}": self._see_job,
            "/api/v1/pods": lambda kind, pod: self._account(pod).see_pod(kind, pod),
            "/api/v1/configmaps": lambda kind, table: self._account(table).see_table(kind, table),
        }
        self.threads = [threading.Thread(target=self._follow, args=each, daemon=True) for each in watched.items()]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def account_of(self, namespace: str) -> Account:
        """Of a namespace, of which nothing may have been seen yet."""
        return self.accounts.setdefault(namespace, Account())  # at once: three threads ask

    def _follow(self, path: str, see: See) -> None:
        """See all that is there, and each change; where the API server has forgotten, all that is there once more."""
        wait_until(lambda: self.api.get(path).is_success)  # a kind that is new is not served at once
        while not self.is_over.is_set():
            version = self._look_at_all(path, see)
            while version is not None and not self.is_over.is_set():
                version = self._watch(path, see, version)

    def _look_at_all(self, path: str, see: See) -> str:
        listed = answer(self.api.get(path, params=_selection(path)))
        for item in listed["items"]:
            see("MODIFIED", item)
        version: str = listed["metadata"]["resourceVersion"]
        if path.endswith("/pods"):
            there = {item["metadata"]["uid"] for item in listed["items"]}
            for account in list(self.accounts.values()):
                account.lose_sight(there, int(version))
        return version

    def _watch(self, path: str, see: See, version: str) -> str | None:
        """Follow a watch to its end; the version to go on from, None where that is forgotten."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "5", **_selection(path)}
        try:
            with self.api.stream("GET", path, params=query) as reply:
                for line in reply.iter_lines():
                    event = json.loads(line)
                    if event.get("type") in {None, "ERROR"}:  # None: an error's own document
                        return None
                    version = event["object"]["metadata"]["resourceVersion"]
                    see(event["type"], event["object"])
        except httpx.TransportError:
            time.sleep(0.1)
        return version

    def _account(self, manifest: Manifest) -> Account:
        return self.account_of(manifest["metadata"]["namespace"])

    def _see_job(self, kind: str, job: Manifest) -> None:
        self._account(job).see_job(kind, job, time.strftime("%H:%M:%S"))


def _selection(path: str) -> dict[str, str]:
    """Jobs are not labelled by us, what belongs to them is."""
    return {} if path.endswith(f"/{PLURAL}") else OURS
