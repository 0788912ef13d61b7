"""What jobs need of their cluster, from what is watched, and from questions where that is not enough."""

import asyncio
from typing import Any

import pytest

from arcface_operator.decision.observation import Prerequisites
from arcface_operator.kubernetes.cache import Cache
from arcface_operator.kubernetes.client import ApiError, JobRef
from arcface_operator.kubernetes.informer import Informer
from arcface_operator.kubernetes.prerequisites import PrerequisitesReader, view_claim_and_class, view_node
from support.builders.jobs import make_job
from support.builders.views import ASCEND

CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims/"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses/"
ASCEND_JOB = make_job(workers=ASCEND, training={"precision": "fp32"})


def claim(name: str, phase: str = "Bound", storage_class: str | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"}
    spec = {"accessModes": ["ReadWriteMany"], **({"storageClassName": storage_class} if storage_class else {})}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


def node(name: str, devices: str | None = "8", ready: str = "True") -> dict[str, Any]:
    status = {
        "allocatable": {"cpu": "64"} if devices is None else {"huawei.com/Ascend910": devices},
        "conditions": [{"type": "Ready", "status": ready}],
    }
    return {"metadata": {"name": name, "uid": name, "resourceVersion": "1"}, "status": status}


class Server:
    """Has objects by path; some may not be looked at."""

    def __init__(self, **objects: Any) -> None:
        self.objects, self.asked = objects, list[str]()

    async def find(self, path: str) -> Any:
        self.asked.append(path)
        found = self.objects.get(path.rsplit("/", 1)[1])
        if isinstance(found, Exception):
            raise found
        return found


def reader(
    server: Server, *watched: dict[str, Any], nodes: tuple[dict[str, Any], ...] | None = (), is_broken: bool = False
) -> PrerequisitesReader:
    """A reader that watches some claims and nodes; None: it may not watch nodes; broken: their watch just has."""
    api: Any = server
    claims = Informer(api, ("v1", "persistentvolumeclaims"), Cache(JobRef.of, view_claim_and_class, print), (None,))
    known = Informer(api, ("v1", "nodes"), Cache(lambda item: str(item["metadata"]["name"]), view_node, print), (None,))
    for each in watched:
        claims.upsert(each)
    for each in nodes or ():
        known.upsert(each)
    reflector = known.reflectors[None]
    reflector.is_current = nodes is not None and not is_broken
    if nodes is None:
        reflector.is_refused = True
    reflector.is_listed.set()  # the right to may have been there before
    return PrerequisitesReader(api, claims, known)


def read(found: PrerequisitesReader, job: Any = None) -> Prerequisites:
    return asyncio.run(found.read(job or make_job()))


def test_claims_that_are_known_to_be_bound_cost_no_request() -> None:
    server = Server()
    found = read(reader(server, claim("faces"), claim("checkpoints")))
    assert {name: view.phase for name, view in found.claims.items() if view} == {
        "faces": "Bound",
        "checkpoints": "Bound",
    }
    assert server.asked == []


def test_a_claim_that_is_not_known_to_be_bound_is_asked_for() -> None:
    """Its event may be later than the job's, or claims may not be watched at all."""
    server = Server(faces=claim("faces"))
    found = read(reader(server, claim("checkpoints", "Pending")))
    assert [view and view.phase for view in found.claims.values()] == ["Bound", None]
    assert server.asked == [CLAIMS + "faces", CLAIMS + "checkpoints"]


@pytest.mark.parametrize(
    ("storage_class", "waits"),
    [
        ({"volumeBindingMode": "WaitForFirstConsumer"}, True),
        ({"volumeBindingMode": "Immediate"}, False),
        (None, False),
        (ApiError(403, "not yours to see"), True),
    ],
)
def test_a_pending_claim_may_wait_for_a_pod(storage_class: Any, waits: bool) -> None:
    server = Server(faces=claim("faces", "Pending", "fast"), checkpoints=claim("checkpoints"), fast=storage_class)
    view = read(reader(server)).claims["faces"]
    assert view is not None
    assert view.waits_for_pod is waits
    assert CLASSES + "fast" in server.asked


def test_devices_are_those_of_the_nodes_that_are_watched() -> None:
    nodes = (node("a", "8"), node("b", "16"), node("c", "0"), node("d", None))
    watched = claim("faces"), claim("checkpoints")
    server = Server()
    assert read(reader(server, *watched, nodes=nodes), ASCEND_JOB).devices == (8, 16)
    assert read(reader(server, *watched, nodes=None), ASCEND_JOB).devices is None
    assert read(reader(server, *watched, nodes=nodes)).devices == ()  # on CPU there are none to count
    assert server.asked == []


def test_nodes_that_are_gone_or_silent_are_lost_and_none_is_where_nothing_is_known() -> None:
    nodes = (node("well"), node("silent", ready="Unknown"), node("sick", ready="False"))
    names = ("well", "silent", "sick", "gone")
    assert reader(Server(), nodes=nodes).lost(names) == {"silent", "sick", "gone"}
    assert reader(Server(), nodes=None).lost(names) == frozenset()


def test_after_a_broken_watch_the_last_list_of_nodes_counts_and_one_it_lacks_may_be_new() -> None:
    nodes = (node("well"), node("silent", ready="Unknown"))
    broken = reader(Server(), claim("faces"), claim("checkpoints"), nodes=nodes, is_broken=True)
    assert broken.lost(("well", "silent", "new")) == {"silent"}
    assert read(broken, ASCEND_JOB).devices == (8, 8)
