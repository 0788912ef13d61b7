"""Nodes without machines: their kubelets play pods by scripts against a real API server.

    with FakeNodes(plane, 8) as nodes:
        nodes.play(namespace, Script(runs=1.0))

The kubelets run in a thread of this process; see `testbed.fake_nodes.scripts` for what they can play.
"""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.fake_pod import FakePod, Order
from testbed.fake_nodes.kubelets import Kubelets
from testbed.fake_nodes.played_ranks import RankDeath
from testbed.fake_nodes.scripts import Chooser, Ending, Eviction, Script
from testbed.programs.commands import TestbedError

START_SECONDS = 120
CALL_SECONDS = 30
GOOD_END, LOW_MEMORY = Ending(), Eviction()


class FakeNodes:
    """Ready nodes `<prefix>-<number>` of a control plane while the context is open."""

    def __init__(self, plane: ControlPlane, count: int = 8, *, devices: int = 8, prefix: str = "fake") -> None:
        self.kubelets = Kubelets(plane.url, plane.tls(), count=count, devices=devices, prefix=prefix)

    @property
    def names(self) -> list[str]:
        """Names of the nodes."""
        return list(self.kubelets.nodes)

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.serve, name="fake nodes", daemon=True)
        self.thread.start()
        if not self.kubelets.is_up.wait(START_SECONDS):
            self.stop()
            raise TestbedError(f"fake nodes are not up after {START_SECONDS} s")
        self.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self.check()

    def stop(self) -> None:
        """End the kubelets and take their nodes away."""
        if self.thread.is_alive():
            self.kubelets.loop.call_soon_threadsafe(self.kubelets.end.set)
        self.thread.join()

    def serve(self) -> None:
        """Run the kubelets until the context is left."""
        try:
            asyncio.run(self.kubelets.run())
        except Exception as error:  # noqa: BLE001 - raised again by `check`, in the test's thread
            self.kubelets.errors.append(error)
        finally:
            self.kubelets.is_up.set()

    def check(self) -> None:
        """Raise the first thing that went wrong in the kubelets, once."""
        if self.kubelets.errors:
            error = self.kubelets.errors[0]
            self.kubelets.errors.clear()
            raise error

    def play(self, namespace: str, script: Script | Chooser) -> None:
        """The script of all pods of a namespace that are bound from now on, or a function that chooses one for each."""
        self.kubelets.choosers[namespace] = script if callable(script) else lambda _: script

    def start(self, namespace: str, name: str) -> None:
        """Let a pod run that waits."""
        if self.pod(namespace, name).started_at is not None:
            raise TestbedError(f"pod {namespace}/{name} runs already")
        self.order(namespace, name, Order.START)

    def finish(self, namespace: str, name: str, ending: Ending = GOOD_END) -> None:
        """End the process of a pod."""
        self.order(namespace, name, ending)

    def end_ranks(self, namespace: str, name: str, ending: Ending) -> None:
        """End ranks of a pod with a launcher; LookupError where none are there."""
        launcher = self.pod(namespace, name).launcher
        if launcher is None:
            raise LookupError(f"pod {namespace}/{name} has no launcher")
        launcher.end_ranks(ending)

    def rank_deaths(self, job_uid: str) -> list[RankDeath]:
        """How often ranks of a job have died by themselves."""
        return self.kubelets.ranks.deaths_of(job_uid)

    def evict(self, namespace: str, name: str, eviction: Eviction = LOW_MEMORY) -> None:
        """Let the kubelet throw a pod out."""
        self.order(namespace, name, eviction)

    def order(self, namespace: str, name: str, order: Order | Ending | Eviction) -> None:
        """Tell a pod what happens to it now."""
        pod = self.pod(namespace, name)
        self.kubelets.loop.call_soon_threadsafe(pod.orders.put_nowait, order)

    def pod(self, namespace: str, name: str) -> FakePod:
        """A pod of these nodes; LookupError if none of them has it."""
        found = self.kubelets.by_name.get((namespace, name))
        if found is None:
            raise LookupError(f"no pod {namespace}/{name} on the fake nodes")
        return found

    def is_running(self, namespace: str, name: str) -> bool:
        """Whether there is such a pod, and it runs."""
        found = self.kubelets.by_name.get((namespace, name))
        return found is not None and found.is_running

    def lose(self, node: str) -> None:
        """Let a node fall silent, which the control plane knows at once; its pods stay as they are, deleted or not."""
        self.call(self.kubelets.set_reachable(node, is_reachable=False))

    def restore(self, node: str) -> None:
        """Bring a lost node back; what was to happen to its pods happens now."""
        self.call(self.kubelets.set_reachable(node, is_reachable=True))

    def call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine among the kubelets and wait for it."""
        asyncio.run_coroutine_threadsafe(coroutine, self.kubelets.loop).result(CALL_SECONDS)
