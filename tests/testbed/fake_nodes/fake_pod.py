"""The life of one pod on a fake node, by its script."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from arcface_api.contract.pod_environment import LAUNCHER_PORT, METRICS_PORT, RANK_TABLE_ANNOTATION
from testbed.ascend.annotations import Chips, Holder, annotations_of, device_name
from testbed.control_plane.api_client import MERGE, STRATEGIC, ApiClient
from testbed.fake_nodes import pod_status
from testbed.fake_nodes.played_launcher import PlayedLauncher
from testbed.fake_nodes.pod_status import PodFacts, Status
from testbed.fake_nodes.pod_volumes import PodVolumes
from testbed.fake_nodes.progress_server import ProgressServer
from testbed.fake_nodes.scripts import KILLED, Devices, Document, Ending, Eviction, Manifest, Refusal, Script, as_text

SYNC_SECONDS = 2.0
"""After which ConfigMaps are looked at again, where a pod waits for something."""
BuildLauncher = Callable[["FakePod"], PlayedLauncher]


class Order(Enum):
    """What may happen to a pod beside an Ending and an Eviction."""

    START = "start"
    DELETE = "delete"


@dataclass(eq=False)
class FakeNode:
    """A node and what its kubelet keeps of it."""

    number: int
    name: str
    address: str
    devices: int
    reachable: asyncio.Event
    """Cleared while the node is lost: its kubelet then neither hears nor says anything."""
    free: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.free = set(range(self.devices))
        self.reachable.set()

    def take(self, count: int) -> list[int]:
        """The lowest free devices; the scheduler sees to it that there are enough."""
        taken = sorted(self.free)[:count]
        self.free -= set(taken)
        return taken

    def give_back(self, devices: Iterable[int]) -> None:
        """Devices that nobody uses any more."""
        self.free |= set(devices)

    def device_address(self, device: int) -> str:
        """Address of a device's network port, unlike that of any other device of the cluster."""
        return f"10.{100 + device}.{self.number // 256}.{self.number % 256}"


@dataclass(eq=False, slots=True)
class FakePod:
    """A pod from its binding to a node until it is gone."""

    facts: PodFacts
    script: Script
    node: FakeNode
    address: str
    api: ApiClient
    progress: ProgressServer
    volumes: PodVolumes
    build_launcher: BuildLauncher
    launcher: PlayedLauncher | None = None
    orders: asyncio.Queue = field(default_factory=asyncio.Queue)
    is_leaving: asyncio.Event = field(default_factory=asyncio.Event)
    grace_seconds: float = 0.0
    devices: list[int] = field(default_factory=list)
    table: str | None = None
    """The rank table that the pod was touched for."""
    started_at: str | None = None
    is_running: bool = False
    task: asyncio.Task | None = None

    def delete(self, grace_seconds: float) -> None:
        """The API server says that the pod is to go."""
        if not self.is_leaving.is_set():
            self.grace_seconds = grace_seconds
            self.is_leaving.set()
            self.orders.put_nowait(Order.DELETE)

    async def play(self) -> None:
        """Do all that the script says and what is ordered meanwhile, until the pod is gone."""
        self.devices = self.node.take(self.facts.devices)
        try:
            async with asyncio.TaskGroup() as group:
                if self.devices and self.script.devices is not None:
                    group.create_task(self.write_devices(self.script.devices, tuple(self.devices)))
                await self.live()
        finally:
            self.release()

    async def live(self) -> None:
        """Run, end and leave."""
        end = self.script.refusal or await self.wait_for_start() or await self.run()
        self.is_running = False
        self.release()
        if not isinstance(end, Order):
            await self.write_end(end)
        await self.is_leaving.wait()
        await self.node.reachable.wait()
        await self.api.request("DELETE", self.facts.path, self.last_delete())

    def release(self) -> None:
        """Give the devices back, before the API server hears of the end and the scheduler counts them as free."""
        self.node.give_back(self.devices)
        self.devices = []

    async def wait_for_start(self) -> Ending | Eviction | Order | None:
        """What ends the pod before it runs; None when it is to run."""
        if self.script.starts != 0:
            await self.write(pod_status.waiting(self.facts, self.script.waiting, self.node.address))
            order = await self.next_order(self.script.starts)
            if order not in {None, Order.START}:
                return order
        while self.script.ranks is not None and not await self.volumes.sync():
            if (order := await self.next_order(SYNC_SECONDS)) is not None:
                return order
        return None

    async def run(self) -> Ending | Eviction:
        """Run until something ends it."""
        self.started_at = pod_status.now()
        is_ready = self.script.is_ready
        async with self.launching(), self.serving():
            await self.write(pod_status.running(self.facts, self.address, self.node.address, is_ready=is_ready))
            self.is_running = True
            order = await self.next_order(self.script.runs) or self.script.ending
            return await self.stop() if order is Order.DELETE else order

    @asynccontextmanager
    async def launching(self) -> AsyncIterator[None]:
        """With its launcher, where it has one; what that sees of the cluster is kept up to date."""
        if self.script.ranks is None:
            yield
            return
        self.launcher = self.build_launcher(self)
        self.launcher.start()
        syncing = asyncio.create_task(self.sync_while_waiting(self.launcher))
        try:
            yield
        finally:
            self.launcher.kill()
            syncing.cancel()

    async def sync_while_waiting(self, launcher: PlayedLauncher) -> None:
        """A kubelet looks at ConfigMaps now and then; only who waits for them needs it."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            if launcher.is_meeting and self.node.reachable.is_set():
                await self.volumes.sync()

    async def stop(self) -> Ending | Eviction:
        """Be told to stop, and be killed when the grace period is over."""
        await self.node.reachable.wait()
        stops = self.script.stops
        is_in_time = stops is not None and stops <= self.grace_seconds
        if self.launcher is not None:
            if is_in_time:
                self.launcher.stop(stops)
            return await self.next_order(self.grace_seconds) or KILLED
        order = await self.next_order(stops if is_in_time else self.grace_seconds)
        return order or (self.script.stopped if is_in_time else KILLED)

    async def next_order(self, seconds: float | None) -> Ending | Eviction | Order | None:
        """The next order; None if there is none within some seconds."""
        try:
            async with asyncio.timeout(seconds):
                order = await self.orders.get()
        except TimeoutError:
            return None
        if isinstance(order, Exception):
            raise order
        return order

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer at the pod's address what the script has an answer to."""
        served = {METRICS_PORT: self.script.progress, LAUNCHER_PORT: self.script.launcher}
        async with AsyncExitStack() as places:
            if (launcher := self.launcher) is not None:
                answer = self.while_reachable(launcher.progress)
                await places.enter_async_context(self.progress.at(self.address, METRICS_PORT, answer))
                served = {}
            for port, document in served.items():
                if document is not None:
                    answer = self.answer(document, time.monotonic())
                    await places.enter_async_context(self.progress.at(self.address, port, answer))
            yield

    def answer(self, document: Document | Callable[[float], Document], started: float) -> Callable[[], str | None]:
        """What is answered from a moment on, unless the node is lost."""

        def text() -> str:
            return as_text(document(time.monotonic() - started) if callable(document) else document)

        return self.while_reachable(text)

    def while_reachable(self, text: Callable[[], str | None]) -> Callable[[], str | None]:
        """An answer that nobody gets from a lost node."""
        return lambda: text() if self.node.reachable.is_set() else None

    async def show(self, manifest: Manifest) -> None:
        """Let the container see what has been written to its pod, once the node is reachable."""
        if self.script.ranks is None:
            return
        await self.node.reachable.wait()
        table = manifest["metadata"].get("annotations", {}).get(RANK_TABLE_ANNOTATION)
        self.volumes.show(manifest)
        if table != self.table:
            self.table = table
            await self.volumes.sync()

    async def write(self, status: Status) -> None:
        """Write the pod's status, once the node is reachable."""
        await self.node.reachable.wait()
        await self.write_now(status)

    async def write_now(self, status: Status) -> None:
        """Write the pod's status."""
        await self.api.request("PATCH", f"{self.facts.path}/status", pod_status.patch_of(self.facts, status), STRATEGIC)

    async def write_readiness(self, *, is_reachable: bool) -> None:
        """Write what the control plane says of a pod whose node is lost, or its kubelet when it is back."""
        if self.is_running:
            is_ready = is_reachable and self.script.is_ready
            await self.write_now({"conditions": pod_status.readiness(is_ready=is_ready, reason=None)})

    async def write_end(self, end: Ending | Eviction | Refusal) -> None:
        """Write how the pod ended."""
        if isinstance(end, Refusal):
            await self.write(pod_status.refused(end))
            return
        builder = pod_status.evicted if isinstance(end, Eviction) else pod_status.ended
        await self.write(builder(self.facts, end, self.started_at))

    def last_delete(self) -> dict[str, object]:
        """Options of the deletion with which the kubelet lets a pod go."""
        return {"gracePeriodSeconds": 0, "preconditions": {"uid": self.facts.uid}}

    async def write_devices(self, plugin: Devices, held: Sequence[int]) -> None:
        """Write the device plugin's annotations."""
        given = held[: len(held) - plugin.withheld]
        chips = Chips(addresses={chip: self.node.device_address(chip) for chip in given[plugin.without_address :]})
        holder = Holder(name=self.facts.name, uid=self.facts.uid, node_address=self.node.address)
        annotations = annotations_of(holder, [device_name(chip) for chip in given], chips, plugin.generation)
        await asyncio.sleep(plugin.delay)
        await self.node.reachable.wait()
        patch = {"metadata": {"uid": self.facts.uid, "annotations": annotations}}
        await self.api.request("PATCH", self.facts.path, patch, MERGE)
