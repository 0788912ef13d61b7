"""The operators of all stories, what stands between them and the API server, and the weather there."""

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster.chaos.draw import Cast
from support.fakes.api_proxy import ApiProxy, Trouble
from support.processes import operator_changes
from support.processes.operator_process import GROUPS, OperatorProcess
from support.processes.release import PREVIOUS, Release
from support.waiting import wait_until
from testbed.ascend.cluster_info import ClusterInfo
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.patient_client import patient_client
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Ending

SECONDS = 180.0
"""For a story to come to the next of its events, or its end, on a loaded machine."""
START_SECONDS = 120.0
WEATHER_SECONDS = 1.0
LEASE_SECONDS = 18.0
"""Longer than the Lease of a leader, who has to be followed by another."""
SKEW_SECONDS = 90.0
QUICK = {
    "settleSeconds": 0.3,
    "checkSeconds": 0.2,
    "incurableSeconds": 1.5,
    "terminationGraceSeconds": 1,
    "launchSeconds": 5,
    "replaceSeconds": 20,
    "shrinkSeconds": 2,
    "growSeconds": 3,
}
"""Rungs of the ladder are what users have, in a hurry."""
CHANGES = str(Path(operator_changes.__file__))
GONE = {"code": 410, "reason": "Expired", "message": "too old resource version"}
TROUBLES = {
    "refused": Trouble.CUTS_OFF,
    "cut off": Trouble.HANGS,
    "slow": Trouble.IS_SLOW,
    "answers lost": Trouble.LOSES_ANSWERS,
    "409": Trouble.CONFLICTS,
    "watches silent": Trouble.SILENCES_WATCHES,
}
REFUSALS = {"429": 429, "500": 500, "503": 503, "watches cut": 502}
UNSEEN = Ending(exit_code=255, reason="Unknown")
"""What a kubelet says of containers that a quick reboot ended."""


@dataclass
class Replica:
    """An operator, and its way to the API server."""

    release: Release
    operator: OperatorProcess
    proxy: ApiProxy
    variables: dict[str, str] = field(default_factory=dict)
    """What it is started with besides."""

    def launch(self, arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> object:
        """Start the release's operator as it is to be."""
        return self.release.launch(arguments, {**variables, **self.variables}, log)

    def change(self, what: str) -> None:
        """What it is from its next start on."""
        self.variables = {"OPERATOR_CHANGES": CHANGES, "OPERATOR_IS": what}

    def restart(self) -> None:
        """It dies as on a lost node, and is started again."""
        self.operator.kill()
        self.operator.start()


class Stage:
    """Where stories are played."""

    def __init__(self, plane: ControlPlane, nodes: FakeNodes, replicas: Sequence[Replica], cast: Cast) -> None:
        self.plane, self.nodes, self.replicas, self.cast = plane, nodes, replicas, cast
        self.api = patient_client(plane.url, plane.tls())
        self.cluster_info = ClusterInfo(self.api)
        self.seconds = self.rest_seconds = SECONDS
        self.present = 0
        """Number of the replica whose turn it is, where one follows the other."""
        self.errands: queue.Queue[tuple[Callable[[], None], Future[None]]] = queue.Queue()
        """What only the thread may do that the control plane lives by."""
        self.sky, self.lost = threading.Lock(), threading.Lock()
        self.losses = 0
        """Of nodes so far, which neighbours feel, too."""
        self.weathers: list[str] = []

    def befall(self, kind: str) -> None:
        """Weather, until it is over; one at a time, since each heals all."""
        with self.sky:
            self.weathers.append(kind)
            if kind == "API server restarted":
                self._in_main(lambda: self.plane.restart_api_server(SECONDS))
            elif kind == "handed over":
                self._hand_over()
            elif kind.startswith("clock"):
                self._leader().change(str(SKEW_SECONDS if kind.endswith("ahead") else -SKEW_SECONDS))
                self._leader().restart()
            elif kind == "killed":
                self._leader().restart()
            elif kind == "stopped":
                self._stop(self._leader())
            else:
                self._trouble(self._leader(), kind)
            self._revive()

    def _leader(self) -> Replica:
        """Whoever acts; the first one while nobody does."""
        if self.cast != "two replicas":
            return self.replicas[self.present]
        return next((replica for replica in self.replicas if replica.operator.is_leading()), self.replicas[0])

    def _spell(self) -> float:
        """How long a leader is away: where there is another one, until that has taken over."""
        return LEASE_SECONDS if self.cast == "two replicas" else WEATHER_SECONDS

    def _hand_over(self) -> None:
        """The other release takes over, in the middle of whatever is done."""
        self.replicas[self.present].operator.kill()
        self.present = 1 - self.present
        self.replicas[self.present].operator.start()

    def _stop(self, replica: Replica) -> None:
        """It stands still, and goes on where it was."""
        assert replica.operator.process is not None
        replica.operator.process.send_signal(signal.SIGSTOP)
        time.sleep(self._spell())
        replica.operator.process.send_signal(signal.SIGCONT)

    def _trouble(self, replica: Replica, kind: str) -> None:
        if kind in TROUBLES:
            replica.proxy.disturb(TROUBLES[kind])
        elif kind == "410":
            replica.proxy.break_watches(GONE)
        else:
            replica.proxy.refuse_all(REFUSALS[kind])
        time.sleep(self._spell())
        replica.proxy.heal()

    def _revive(self) -> None:
        """A replica that has ended by itself is started again, as its kubelet does."""
        for replica in self.replicas if self.cast == "two replicas" else ():
            assert replica.operator.process is not None
            if replica.operator.process.poll() is not None:
                replica.operator.start()

    def _in_main(self, errand: Callable[[], None]) -> None:
        """Have the main thread do something, and wait until it has."""
        future: Future[None] = Future()
        self.errands.put((errand, future))
        future.result()

    def run_errands(self, is_over: Callable[[], bool]) -> None:
        """Do what is asked of the main thread until something is over; whoever asked hears of what goes wrong."""
        while not is_over():
            try:
                errand, future = self.errands.get(timeout=0.1)
            except queue.Empty:
                continue
            try:
                future.set_result(errand())
            except Exception as error:  # noqa: BLE001 - raised where it was asked for
                future.set_exception(error)

    def lose_node_of(self, namespace: str, pod: str) -> None:
        """The node of a pod falls silent, and is back after a while."""
        with self.lost:
            self.losses += 1
            name = self.nodes.pod(namespace, pod).node.name
            self.nodes.lose(name)
            time.sleep(WEATHER_SECONDS)
            self.nodes.restore(name)

    def reboot_node_of(self, namespace: str, pod: str) -> None:
        """A reboot so quick that nobody notices, after which containers have ended by what nobody saw."""
        with self.lost:
            self.losses += 1
            node = self.nodes.pod(namespace, pod).node
            for each in [each for each in self.nodes.kubelets.by_name.values() if each.node is node]:
                if each.is_running:
                    self.nodes.finish(each.facts.namespace, each.facts.name, UNSEEN)

    def writes(self, since: int, namespace: str | None = None) -> list[str]:
        """What operators wrote after a moment of the audit log, but for their leases and events."""
        users = {replica.release.user for replica in self.replicas}
        return [
            f"{request['verb']} {request['resource']} {request['namespace']}/{request['name']}"
            for request in self.plane.audit(since)
            if request["user"] in users
            and request["verb"] in {"create", "update", "patch", "delete"}
            and request["resource"] not in {"leases", "events"}
            and namespace in {None, request["namespace"]}
        ]


@contextmanager
def releases(plane: ControlPlane, folder: Path, cast: Cast) -> Iterator[list[Release]]:
    """Whose operators play, by turns: the one under test, and perhaps the one before it."""
    with ExitStack() as stack:
        found = [stack.enter_context(Release(folder / "present"))]
        if cast == "two releases":
            found.append(stack.enter_context(Release(folder / "previous", PREVIOUS)))
        if cast == "two replicas":
            found *= 2
        for release in found:
            release.grant_rights(plane)
            plane.tls(release.user, GROUPS)  # its certificate is made now, not by several threads at once
        yield found


@contextmanager
def set_up(
    plane: ControlPlane,
    nodes: FakeNodes,
    folder: Path,
    cast: Cast,
    of: Sequence[Release],
    namespace: str | None = None,
    wrong: str | None = None,
    settings: Mapping[str, object] = QUICK,
) -> Iterator[Stage]:
    """Operators for all namespaces or one, each behind a proxy of its own; perhaps wrong in a respect."""
    arguments = [] if cast == "two replicas" else ["--no-leader-election"]
    arguments += [] if namespace is None else ["--namespace", namespace]
    with ExitStack() as stack:
        replicas = []
        for turn, release in enumerate(of):
            operator = release.operator(plane, folder / str(turn), *arguments, **settings)
            replica = Replica(release, operator, stack.enter_context(ApiProxy(plane, release.user, GROUPS)))
            operator.kubeconfig = replica.proxy.kubeconfig(folder / str(turn) / "kubeconfig")
            operator.launch = replica.launch
            if wrong is not None:
                replica.change(wrong)
            replicas.append(replica)
        stage = Stage(plane, nodes, replicas, cast)
        stack.callback(stage.api.close)
        for replica in replicas:
            stack.callback(_end, replica)
        for replica in replicas if cast == "two replicas" else replicas[:1]:
            replica.operator.start()
        wait_until(lambda: any(replica.operator.is_leading() for replica in replicas), START_SECONDS)
        yield stage


def _end(replica: Replica) -> None:
    """Its proxy is gone as soon as this returns, so there is no way to end in order."""
    if replica.operator.process is not None:
        replica.operator.kill()
