"""`arcface operator` as a process of its own, with exactly the rights of rbac.yaml."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import yaml

from arcface_operator.settings import Settings
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.programs.processes import free_port

CRDS = Path(__file__).resolve().parents[3] / "crds"
NAMESPACE, ACCOUNT = "arcface-system", "arcface-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
RBAC = "rbac.authorization.k8s.io"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated")
RIGHTS: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (files("arcface_operator.kubernetes") / "rbac.yaml").read_text()
)
QUICK = {
    "checkSeconds": 0.3,
    "startingPollSeconds": 0.1,
    "progressSeconds": 0.3,
    "figuresSeconds": 0.3,
    "settleSeconds": 1,
    "restartSeconds": 0.1,
    "forceDeleteSeconds": 1,
    "terminationGraceSeconds": 5,
    "replaceSeconds": 0,
}
"""Periods for tests, which have no hours to wait. Most pods that are played have no launchers to meet a new pod."""
DEFAULTS = json.loads(Settings().to_json())
"""What users have, for measurements."""


def serve_jobs(plane: ControlPlane) -> None:
    """Have the API server take ArcFaceTrainingJobs."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "--filename", str(CRDS))
    wait_until(lambda: all_established(plane))


def all_established(plane: ControlPlane) -> bool:
    """Whether the API server serves all kinds; `kubectl wait` fails for one that has no conditions yet."""
    kinds = answer(plane.admin.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions"))["items"]
    conditions = [kind.get("status", {}).get("conditions") or [] for kind in kinds]
    return all(any(item["type"] == "Established" and item["status"] == "True" for item in each) for each in conditions)


def grant_rights(plane: ControlPlane, name: str = ACCOUNT, rights: Mapping[str, Any] = RIGHTS) -> None:
    """The operator's ServiceAccount with the roles that the chart makes of rbac.yaml."""
    objects = [
        *account(name),
        *bound("ClusterRole", name, {}, rights["namespaced"] + rights["cluster"]),
        *bound("Role", name, {"namespace": NAMESPACE}, rights["election"]),
    ]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def grant_rights_in(plane: ControlPlane, namespace: str, name: str) -> None:
    """Another ServiceAccount with the rights of an operator of one namespace, and none elsewhere."""
    objects = [*account(name), *bound("Role", name, {"namespace": namespace}, RIGHTS["namespaced"])]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def account(name: str) -> list[dict[str, Any]]:
    """A ServiceAccount in the operator's namespace."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}},
    ]


def bound(kind: str, name: str, place: dict[str, str], rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A role and its binding to a ServiceAccount of the same name."""
    metadata = {"name": name, **place}
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
        },
    ]


class Process(Protocol):
    """What is done with a process that was started."""

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""

    def wait(self, timeout: float = ...) -> int:
        """Its exit status once it has ended."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""

    def kill(self) -> None:
        """Kill it."""


Launch = Callable[[Sequence[str], Mapping[str, str], Path], Process]
"""Starts `arcface` with arguments, further variables, and a file for what it prints."""


def launch_installed(arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start the `arcface` that is installed here."""
    command = [Path(sys.executable).with_name("arcface"), *arguments]
    with log.open("ab") as output:
        return subprocess.Popen(command, env={**os.environ, **variables}, stdout=output, stderr=output)


class OperatorProcess:
    """One replica."""

    def __init__(
        self,
        plane: ControlPlane,
        folder: Path,
        *arguments: str,
        settings: Mapping[str, object] | None = None,
        user: str = USER,
        launch: Launch = launch_installed,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = plane.kubeconfig(user, GROUPS)
        self.log = folder / "operator.log"
        self.settings = folder / "settings.yaml"
        self.settings.write_text(json.dumps({**QUICK, **(settings or {})}))
        self.arguments = arguments
        self.port = free_port()
        self.launch = launch
        self.process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it; returns at once."""
        served = ["--address", "127.0.0.1", "--port", str(self.port)]
        arguments = ["operator", "--settings", str(self.settings), *served, *self.arguments]
        variables = {"KUBECONFIG": str(self.kubeconfig), "POD_NAMESPACE": NAMESPACE}
        self.process = self.launch(arguments, variables, self.log)

    def is_serving(self, path: str = "/readyz") -> bool:
        """Whether a probe succeeds."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def metrics(self) -> str:
        """Text of /metrics."""
        return httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text

    def leads(self) -> bool:
        """Whether it is the one that acts."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return self.is_leading()

    def is_leading(self) -> bool:
        """The same of one that may have ended."""
        try:
            return self.is_serving() and "arcface_operator_is_leader 1.0" in self.metrics()
        except httpx.TransportError:
            return False

    def wait_until_it_leads(self) -> None:
        """Until it acts on jobs."""
        wait_until(self.leads, seconds=120)

    def kill(self) -> None:
        """End it as a lost node does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as a kubelet does; its exit status."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
