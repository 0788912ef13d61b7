"""The kubelets of all fake nodes: one event loop, one watch on pods."""

import asyncio
import functools
import itertools
import json
import random
import ssl
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from arcface_api.contract.pod_environment import RUN_CONFIG, RankIdentity
from arcface_api.names import ASCEND_910
from testbed.control_plane.api_client import MERGE, STRATEGIC, ApiClient
from testbed.fake_nodes import node_objects
from testbed.fake_nodes.fake_pod import FakeNode, FakePod
from testbed.fake_nodes.played_launcher import PlayedLauncher
from testbed.fake_nodes.played_ranks import PlayedRanks
from testbed.fake_nodes.pod_status import facts_of
from testbed.fake_nodes.pod_volumes import PodVolumes, container_environment
from testbed.fake_nodes.progress_server import ProgressServer
from testbed.fake_nodes.scripts import Chooser, Ending, Manifest, by_rank

HEARTBEAT_SECONDS = 30.0
STOP_SECONDS = 10.0
"""For taking the nodes away; an API server that does not run any more never answers."""
POD_NETWORK = int(IPv4Address("127.1.0.0"))
POD_ADDRESSES = 2**23
PODS, BOUND = "/api/v1/pods", "fieldSelector=spec.nodeName!="
ENDED = {"Succeeded", "Failed"}


class Kubelets:
    """All nodes and their pods; everything but `choosers` and `errors` belongs to the event loop's thread."""

    def __init__(self, url: str, tls: ssl.SSLContext, *, count: int, devices: int, prefix: str) -> None:
        self.api = ApiClient(url, tls)
        self.progress = ProgressServer()
        self.nodes = {node.name: node for node in fake_nodes(count, devices, prefix)}
        self.pods: dict[str, FakePod] = {}
        """By uid."""
        self.by_name: dict[tuple[str, str], FakePod] = {}
        """The same by namespace and name; the younger one of two."""
        self.choosers: dict[str, Chooser] = {}
        """By namespace."""
        self.errors: list[BaseException] = []
        self.is_up = threading.Event()
        self.addresses = pod_addresses()
        self.ranks = PlayedRanks()
        self.folder = tempfile.TemporaryDirectory(prefix="fake-nodes-")

    async def run(self) -> None:
        """Register the nodes and play their pods until `end` is set; then take the nodes away."""
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        with self.folder:
            await self.play_pods()

    async def play_pods(self) -> None:
        """See `run`."""
        async with self.api, self.progress:
            await self.for_all_nodes(self.register)
            tasks = [self.spawn(self.follow_pods()), self.spawn(self.beat())]
            await self.end.wait()
            tasks += [pod.task for pod in self.pods.values()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self.for_all_nodes(self.remove)

    async def for_all_nodes(self, action: Callable[[FakeNode], Awaitable[None]]) -> None:
        """Do something to all nodes; the client bounds how many at once."""
        await asyncio.gather(*(action(node) for node in self.nodes.values()))

    async def register(self, node: FakeNode) -> None:
        """Create the node without the taint of new nodes, and its Lease, which is deleted with it."""
        created = await self.api.request("POST", node_objects.NODES, node_objects.build_node(node))
        await self.api.request("PATCH", node_objects.path(node), {"spec": {"taints": None}}, MERGE)
        await self.api.request("POST", node_objects.LEASES, node_objects.build_lease(node, created["metadata"]["uid"]))

    async def remove(self, node: FakeNode) -> None:
        """Delete the node."""
        await self.api.request("DELETE", node_objects.path(node))

    async def beat(self) -> None:
        """Renew the Leases of all nodes that are not lost."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self.for_all_nodes(self.renew)

    async def renew(self, node: FakeNode) -> None:
        """Renew a node's Lease."""
        if node.reachable.is_set():
            await self.api.request("PATCH", node_objects.lease_path(node), node_objects.renewal(), MERGE)

    async def set_reachable(self, name: str, *, is_reachable: bool) -> None:
        """Lose a node or bring it back; conditions follow at once, not after the control plane's patience."""
        node = self.nodes[name]
        if node.reachable.is_set() == is_reachable:
            return
        if is_reachable:
            node.reachable.set()
        else:
            node.reachable.clear()
        status = {"status": {"conditions": node_objects.conditions(is_reachable=is_reachable)}}
        await self.api.request("PATCH", f"{node_objects.path(node)}/status", status, STRATEGIC)
        await self.renew(node)
        here = [pod for pod in self.pods.values() if pod.node is node]
        await asyncio.gather(*(pod.write_readiness(is_reachable=is_reachable) for pod in here))

    async def follow_pods(self) -> None:
        """See each change of the pods that are bound to nodes; look at all anew when the watch ends."""
        while True:
            version = await self.look_at_all()
            self.is_up.set()
            async for event in self.api.watch(PODS, BOUND, version):
                if event["type"] == "DELETED":
                    self.forget(event["object"]["metadata"]["uid"])
                else:
                    self.see(event["object"])

    async def look_at_all(self) -> str:
        """See all pods, and forget those that went unseen; returns the version that a watch goes on from."""
        unseen, version = set(self.pods), ""
        async for page in self.api.pages(PODS, BOUND):
            version = page["metadata"]["resourceVersion"]
            for pod in page["items"]:
                unseen.discard(pod["metadata"]["uid"])
                self.see(pod)
        for uid in unseen:
            self.forget(uid)
        return version

    def see(self, manifest: Manifest) -> None:
        """Begin to play a new pod of ours; let one that is deleted know it."""
        metadata = manifest["metadata"]
        pod = self.pods.get(metadata["uid"]) or self.begin(manifest)
        if pod is not None and pod.script.ranks is not None:
            self.spawn(pod.show(manifest))
        if pod is not None and "deletionTimestamp" in metadata:
            pod.delete(metadata.get("deletionGracePeriodSeconds", 0))

    def begin(self, manifest: Manifest) -> FakePod | None:
        """Play a pod from its beginning; None if it has ended or is on another's node."""
        node = self.nodes.get(manifest["spec"]["nodeName"])
        if node is None or manifest["status"].get("phase") in ENDED:
            return None
        facts = facts_of(manifest, ASCEND_910)
        choose = self.choosers.get(facts.namespace, by_rank({}))
        read_map = functools.partial(self.read_map, facts.namespace)
        volumes = PodVolumes(manifest, Path(self.folder.name) / facts.uid, read_map)
        build = functools.partial(self.build_launcher, manifest)
        pod = FakePod(facts, choose(manifest), node, next(self.addresses), self.api, self.progress, volumes, build)
        self.pods[facts.uid] = self.by_name[facts.namespace, facts.name] = pod
        pod.task = self.spawn(pod.play())
        return pod

    async def read_map(self, namespace: str, name: str) -> Manifest | None:
        """A ConfigMap."""
        found: Manifest | None = await self.api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        return found

    def build_launcher(self, manifest: Manifest, pod: FakePod) -> PlayedLauncher:
        """The launcher of a pod, by its variables and its run configuration, as its container finds them."""
        own = RankIdentity.from_environment(container_environment(manifest, pod.address))
        files = {name: getattr(own, name) for name in ("launch_file", "scheduler_file", "rank_table")}
        seen = {name: pod.volumes.path(path) for name, path in files.items() if path is not None}
        config = json.loads(pod.volumes.path(Path(RUN_CONFIG)).read_text())
        loop, orders = self.loop, pod.orders

        def ended(end: Ending | Exception) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody plays any more
                loop.call_soon_threadsafe(orders.put_nowait, end)

        pods = own.world_size // config["ranks"]["perPod"]
        is_reachable = pod.node.reachable.is_set
        return PlayedLauncher(replace(own, **seen), pods, pod.script.ranks, self.ranks, is_reachable, ended)

    def forget(self, uid: str) -> None:
        """End the play of a pod that is gone."""
        pod = self.pods.pop(uid, None)
        if pod is None:
            return
        pod.task.cancel()
        key = (pod.facts.namespace, pod.facts.name)
        if self.by_name.get(key) is pod:
            del self.by_name[key]

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure is kept for the test."""
        task = asyncio.create_task(coroutine)
        task.add_done_callback(self.keep_failure)
        return task

    def keep_failure(self, task: asyncio.Task[None]) -> None:
        """Keep a task's failure, and let nobody wait for what will not come."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)
            self.is_up.set()


def fake_nodes(count: int, devices: int, prefix: str) -> Iterator[FakeNode]:
    """The nodes; their addresses belong to nobody."""
    for number in range(count):
        address = f"10.99.{number // 250}.{number % 250 + 1}"
        yield FakeNode(number, f"{prefix}-{number}", address, devices, asyncio.Event())


def pod_addresses() -> Iterator[str]:
    """Loopback addresses for pods, none given twice, begun anywhere lest another process gives the same."""
    first = random.randrange(POD_ADDRESSES)
    return (str(IPv4Address(POD_NETWORK + (first + step) % POD_ADDRESSES)) for step in itertools.count())
