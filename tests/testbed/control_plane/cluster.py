"""A real control plane on this machine: etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

    with ControlPlane(workdir) as plane:
        plane.kubectl("get", "namespaces")

All files lie in the work dir, all logs under its `logs`. The processes end with the context, and with the thread that
opened it when that is killed.
"""

import shutil
import ssl
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from testbed.control_plane.audit import AuditLog
from testbed.control_plane.pki import Pki
from testbed.programs.binaries import binary
from testbed.programs.commands import TestbedError, run
from testbed.programs.processes import KeptProcess, ServerProcess, free_port

ADMIN, ADMINS = "admin", "system:masters"
SERVICE_RANGE = "10.0.0.0/24"
SERVICE_ADDRESS = "10.0.0.1"
"""Address of the Service `default/kubernetes`: the first of the range."""
SERVER_NAMES = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]


class ControlPlane:
    """The four servers while the context is open."""

    def __init__(
        self,
        workdir: Path,
        *,
        address: str = "127.0.0.1",
        command_prefix: Sequence[str] = (),
        flags: Mapping[str, Sequence[str]] | None = None,
        is_audited: bool = False,
    ) -> None:
        """Choose ports; nothing is started yet, and nothing kept of a control plane that used the folder before.

        Args:
            workdir: folder for keys, data and logs; made if it is not there.
            address: where the API server listens; this process must reach it.
            command_prefix: what the servers are started with, such as `nsenter --net=FILE` for a private network.
            flags: further flags by the name of the program.
            is_audited: whether the API server writes the log that `audit` reads.
        """
        for left in ("pki", "etcd"):  # by another control plane, whose authority and ports were others
            shutil.rmtree(workdir / left, ignore_errors=True)
        self.workdir = workdir
        self.address = address
        self.command_prefix = command_prefix
        self.flags = flags or {}
        self.pki = Pki(workdir / "pki")
        self.etcd_port, self.peer_port, self.port = free_port(), free_port(), free_port()
        self.audit_log = AuditLog(workdir / "audit.log") if is_audited else None
        self.servers: dict[str, ServerProcess] = {}

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://{self.address}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """Certificate that the API server's own is signed with."""
        return self.pki.authority.certificate

    @property
    def logs(self) -> Path:
        """Folder with a log for each server."""
        return self.workdir / "logs"

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            self.start("etcd", self.etcd_flags())
            api_server = self.start("kube-apiserver", self.api_server_flags())
            api_server.wait_for(self.is_serving)
            # Both end themselves where what they believe is wrong, the scheduler after an API server's restart, too.
            manager = self.start("kube-controller-manager", self.manager_flags(), KeptProcess)
            self.start("kube-scheduler", self.scheduler_flags(), KeptProcess).check()
            # No pod can be created before its namespace has its ServiceAccount.
            manager.wait_for(lambda: self.exists("/api/v1/namespaces/default/serviceaccounts/default"))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, flags: Sequence[str], kind: type[ServerProcess] = ServerProcess) -> ServerProcess:
        """Start a server; its log is named after it."""
        command = [*self.command_prefix, str(binary(name)), *flags, *self.flags.get(name, ())]
        server = self.servers[name] = kind(name, command, self.logs / f"{name}.log")
        server.start()
        return server

    def stop(self) -> None:
        """Stop all servers, those that depend on others first; logs and keys stay, the data goes."""
        self.admin.close()
        for server in reversed(self.servers.values()):
            server.stop()
        shutil.rmtree(self.workdir / "etcd", ignore_errors=True)

    def restart_api_server(self, seconds: float = 60.0) -> None:
        """Kill the API server, start it anew at the same address and wait until it serves."""
        server = self.servers["kube-apiserver"]
        server.stop()
        server.start()
        server.wait_for(self.is_serving, seconds)

    def kubeconfig(self, user: str = ADMIN, groups: Sequence[str] = (ADMINS,)) -> Path:
        """A kubeconfig with a certificate for this user of these groups."""
        return self.pki.kubeconfig(self.url, user, groups)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of kubectl, run as administrator; TestbedError with what it says if it fails."""
        options = ["--kubeconfig", str(self.kubeconfig()), "--cache-dir", str(self.workdir / "kubectl-cache")]
        return run([str(binary("kubectl")), *options, *arguments], stdin)

    def shell(self, command: str, folder: Path, namespace: str) -> str:
        """Standard output of a line as an administrator types it: kubectl and helm know cluster and namespace."""
        config = folder / "kubeconfig"
        config.write_bytes(self.kubeconfig().read_bytes())
        chosen = ["config", "set-context", "--current", f"--namespace={namespace}"]
        run([str(binary("kubectl")), "--kubeconfig", str(config), *chosen])
        programs = ":".join(str(binary(name).parent) for name in ("kubectl", "helm"))
        place = {"PATH": f"{programs}:/usr/bin:/bin", "KUBECONFIG": str(config), "HOME": str(folder)}
        setting = [f"{name}={value}" for name, value in place.items()]
        return run(["env", f"--chdir={folder}", *setting, "bash", "-e", "-o", "pipefail", "-c", command])

    def token(self, namespace: str, service_account: str) -> str:
        """A token of a ServiceAccount, as a pod of it would carry one."""
        return self.kubectl("create", "token", service_account, "--namespace", namespace).strip()

    def client(self, user: str = ADMIN, groups: Sequence[str] = (ADMINS,)) -> httpx.Client:
        """HTTP client of the API server for this user; to be closed."""
        return httpx.Client(base_url=self.url, verify=self.tls(user, groups), timeout=30.0, trust_env=False)

    def tls(self, user: str = ADMIN, groups: Sequence[str] = (ADMINS,)) -> ssl.SSLContext:
        """TLS settings of a client that is this user."""
        context = self.authority_only()
        pair = self.pki.client(user, groups)
        context.load_cert_chain(pair.certificate, pair.key)
        return context

    def authority_only(self) -> ssl.SSLContext:
        """TLS settings of a client that is nobody, or whoever its token says."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    @cached_property
    def admin(self) -> httpx.Client:
        """HTTP client of the administrator, open as long as the control plane."""
        return self.client()

    def audit(self, since: int = 0, user: str | None = None) -> list[dict[str, Any]]:
        """The requests that were answered after `since` (a value of `audit_log.size()`)."""
        if self.audit_log is None:
            raise TestbedError("this control plane is not audited: ControlPlane(..., is_audited=True)")
        return self.audit_log.requests(since, user)

    def is_serving(self) -> bool:
        """Whether the API server is ready."""
        return self.exists("/readyz")

    def exists(self, path: str) -> bool:
        """Whether the API server answers and has something at a path."""
        try:
            return self.admin.get(path).is_success
        except httpx.TransportError:
            return False

    def etcd_flags(self) -> list[str]:
        """A member on its own that keeps nothing safe."""
        clients, peers = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, self.peer_port))
        return [
            f"--data-dir={self.workdir / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--heartbeat-interval=20",
            "--election-timeout=100",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def api_server_flags(self) -> list[str]:
        """With RBAC, ServiceAccount tokens and the node restrictions of a production cluster."""
        serving = self.pki.server("kube-apiserver", [self.address, "127.0.0.1", SERVICE_ADDRESS], SERVER_NAMES)
        to_kubelet = self.pki.client("kube-apiserver-kubelet-client", [ADMINS])
        return [
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--bind-address={self.address}",
            f"--secure-port={self.port}",
            f"--advertise-address={self.address}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.ca_file}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.pki.token_key}",
            f"--service-account-signing-key-file={self.pki.token_key}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--kubelet-client-certificate={to_kubelet.certificate}",
            f"--kubelet-client-key={to_kubelet.key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
            *(self.audit_log.flags if self.audit_log is not None else ()),
        ]

    def manager_flags(self) -> list[str]:
        """All controllers, each under its own ServiceAccount; no port of its own."""
        authority = self.pki.authority
        return [
            f"--kubeconfig={self.kubeconfig('system:kube-controller-manager', ())}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={self.pki.token_key}",
            f"--root-ca-file={authority.certificate}",
            f"--cluster-signing-cert-file={authority.certificate}",
            f"--cluster-signing-key-file={authority.key}",
            "--use-service-account-credentials=true",
            # A machine too busy for heartbeats must not cost nodes; tests lose them by order.
            "--node-monitor-grace-period=10m",
            "--node-monitor-period=1s",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--concurrent-gc-syncs=40",
            "--concurrent-namespace-syncs=20",
        ]

    def scheduler_flags(self) -> list[str]:
        """The default profile; no port of its own."""
        return [
            f"--kubeconfig={self.kubeconfig('system:kube-scheduler', ())}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
        ]
