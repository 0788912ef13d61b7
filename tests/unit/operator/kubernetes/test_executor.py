"""How an object that pods need comes to be, whatever the caches know of it.

The API server is played by the contract of "Kubernetes API Concepts" and "Server-Side Apply": a creation is refused
where the name is taken (409, AlreadyExists); an apply makes what is not there; managed fields have one entry for each
manager and operation, and an apply takes away only what an entry of its own operation owns; a JSON patch with another
resource version than the object's is refused (409, Conflict).
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from arcface_api.names import API_VERSION, KIND
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.decision.plan import Apply, Create, Plan
from arcface_operator.kubernetes.client import CONFLICT, FIELD_MANAGER, ApiError
from arcface_operator.kubernetes.executor import ActionExecutor
from arcface_operator.manifests.worker_pod import build_worker_pod
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS

UID = "uid-1"
JOB = make_job(uid=UID)
OWNER = {"apiVersion": API_VERSION, "kind": KIND, "name": "quick", "controller": True}


def wanted(**data: str) -> dict[str, Any]:
    metadata = {"name": "quick-config", "namespace": "default", "ownerReferences": [{**OWNER, "uid": UID}]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class Server:
    """One ConfigMap; `between` is what somebody else does after the request that is named."""

    def __init__(self, there: dict[str, Any] | None = None, operation: str = "Apply", **between: Any) -> None:
        self.there, self.between, self.version, self.asked = None, between, 1, list[str]()
        self.owned: dict[str, set[str]] = {}
        """Keys of data by the operation that owns them in our name."""
        if there is not None:
            self.store(there, operation)

    def store(self, manifest: dict[str, Any], operation: str) -> dict[str, Any]:
        self.version += 1
        self.owned[operation] = set(manifest["data"])
        fields = [{"manager": FIELD_MANAGER, "operation": each} for each, keys in self.owned.items() if keys]
        metadata = {**manifest["metadata"], "managedFields": fields, "resourceVersion": str(self.version)}
        self.there = {**manifest, "metadata": {"uid": "x", **metadata}}
        return self.there

    def note(self, verb: str) -> None:
        self.asked.append(verb)

    def meanwhile(self, verb: str) -> None:
        self.between.pop(verb, lambda _: None)(self)

    async def create(self, manifest: dict[str, Any], *_: Any) -> dict[str, Any]:
        self.note("create")
        if self.there is not None:
            self.meanwhile("create")
            raise ApiError(CONFLICT, "already exists", "AlreadyExists")
        return self.store(manifest, "Update")

    async def find(self, _path: str) -> dict[str, Any] | None:
        self.note("find")
        found = self.there
        self.meanwhile("find")
        return found

    async def apply(self, manifest: dict[str, Any], *, is_ours: bool) -> dict[str, Any]:
        self.note("apply")
        assert is_ours or self.there is None
        kept = {} if self.there is None else self.there["data"]
        left_out = self.owned.get("Apply", set()) - self.owned.get("Update", set()) - set(manifest["data"])
        data = {key: value for key, value in kept.items() if key not in left_out}
        stored = self.store(manifest, "Apply")
        stored["data"] = {**data, **manifest["data"]}
        return stored

    async def edit(self, _path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        self.note("edit")
        changes = {item["path"].rsplit("/", 1)[1]: item["value"] for item in operations}
        if self.there is None or changes["resourceVersion"] != self.there["metadata"]["resourceVersion"]:
            raise ApiError(CONFLICT, "the object has been modified", "Conflict")
        assert [entry["operation"] for entry in changes["managedFields"]] == ["Apply"]
        self.owned = {"Apply": self.owned["Update"]}
        return self.there


def apply(server: Server, *, lacks: bool, **data: str) -> list[ActionFailure]:
    """Prepare for pods; whether the cache knows that the object is not there."""
    api: Any = server
    known: list[dict[str, Any]] = []
    executor = ActionExecutor(api, "me", lambda: NOW, known.append, lambda _: lacks)
    failed = asyncio.run(executor.prepare(JOB, Plan(status=JOB.status, actions=(Apply(wanted(**data)),))))
    assert failed or known == [server.there], "what is made or changed is known at once"
    return failed


def goes(server: Server) -> None:
    server.there, server.owned = None, {}


def is_touched(server: Server) -> None:
    assert server.there is not None
    server.version += 1
    server.there = {**server.there, "metadata": {**server.there["metadata"], "resourceVersion": str(server.version)}}


def test_what_is_known_not_to_be_there_takes_one_request() -> None:
    server = Server()
    assert apply(server, lacks=True, run="1") == []
    assert server.asked == ["create"]


def test_what_is_not_known_of_is_looked_for() -> None:
    """Services and ConfigMaps that cannot be watched, and groups, which are not."""
    server = Server()
    assert apply(server, lacks=False, run="1") == []
    assert server.asked == ["find", "apply"]


@pytest.mark.parametrize("operation", ["Apply", "Update"])
@pytest.mark.parametrize("lacks", [True, False])
def test_what_is_there_loses_what_we_leave_out(operation: str, lacks: bool) -> None:
    """Whoever made it, by whichever request, and however late the cache is."""
    server = Server(wanted(run="1", old="1"), operation)
    assert apply(server, lacks=lacks, run="2") == []
    assert server.there is not None
    assert server.there["data"] == {"run": "2"}
    assert [entry["operation"] for entry in server.there["metadata"]["managedFields"]] == ["Apply"]


@pytest.mark.parametrize("owner", [{"uid": "uid-0"}, {"uid": "uid-9", "kind": "Deployment", "name": "web"}])
def test_a_namesake_that_the_cache_does_not_have_is_left_alone(owner: dict[str, str]) -> None:
    """Only objects with our label are watched, and a new leader's cache may be late."""
    namesake = wanted(mine="precious")
    namesake["metadata"]["ownerReferences"] = [{**OWNER, **owner}]
    server = Server(namesake)
    (failure,) = apply(server, lacks=True, run="1")
    assert "ConfigMap quick-config" in failure.message
    assert server.asked == ["create", "find"]


@pytest.mark.parametrize("verb", ["create", "find"])
def test_what_goes_in_between_is_made_anew(verb: str) -> None:
    between: dict[str, Callable[[Server], None]] = {verb: goes}
    server = Server(wanted(run="1"), **between)
    failed = apply(server, lacks=True, run="2")
    assert failed == []
    assert server.there is not None
    assert server.there["data"] == {"run": "2"}


def test_what_somebody_changes_in_between_is_tried_again_later() -> None:
    server = Server(wanted(run="1"), "Update", find=is_touched)
    (failure,) = apply(server, lacks=False, run="2")
    assert "modified" in failure.message
    assert not failure.is_lasting
    assert apply(server, lacks=False, run="2") == []


class PodServer(Server):
    """It holds one pod, which may be deleted."""

    async def delete(self, _path: str, uid: str, _grace_seconds: int | None) -> None:
        self.note(f"delete {uid}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"arcface.io/attempt": "1"}, "is of attempt 1 and not of attempt 2 and is replaced", id="attempt"),
        pytest.param({"arcface.io/job": None}, "has lost its labels and is replaced", id="labels"),
        pytest.param({"arcface.io/attempt": None}, "has lost its labels and is replaced", id="label of the attempt"),
    ],
)
def test_a_pod_in_the_place_of_another_is_replaced_and_told_for_what_it_is(
    change: dict[str, str | None], words: str
) -> None:
    pod = build_worker_pod(JOB, 0, 2, SETTINGS)
    labels = {name: value for name, value in (pod["metadata"]["labels"] | change).items() if value is not None}
    server = PodServer()
    server.there = {**pod, "metadata": {**pod["metadata"], "uid": "old", "labels": labels}}
    api: Any = server
    executor = ActionExecutor(api, "me", lambda: NOW, lambda _: None)
    (failure,) = asyncio.run(executor.act(JOB, Plan(status=JOB.status, actions=(Create(pod),))))
    assert words in failure.message
    assert server.asked == ["create", "find", "delete old"]
