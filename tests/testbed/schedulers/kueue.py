"""Kueue's manager beside a control plane, installed by its own manifests with its rights, webhooks and certificates.

    with Kueue(plane, workdir):
        plane.kubectl("apply", "-f", "-", stdin=queues)

What its Deployment, Service and kubelet would do is done here: the manager runs as a process of this machine under its
ServiceAccount's name, the Service leads to it by an external name, and the Secret that it fills is put into its folder.
That name is `localhost`: the manager runs in the API server's network, whichever that is.
"""

import base64
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from testbed.control_plane.cluster import ControlPlane
from testbed.programs.binaries import binary, folder
from testbed.programs.processes import ServerProcess, free_port

NAMESPACE, ACCOUNT = "kueue-system", "kueue-controller-manager"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated")
ELSEWHERE = {"Deployment", "APIService"}
"""Kinds that this class stands for, or does without: the visibility API serves people."""
WEBHOOKS = {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/kueue-webhook-server-cert"

Manifest = dict[str, Any]


class Kueue:
    """The manager while the context is open."""

    def __init__(self, plane: ControlPlane, workdir: Path, **options: Any) -> None:
        """Take its manifests; `options` are parts of its configuration that an administrator has changed."""
        workdir.mkdir(parents=True, exist_ok=True)
        self.plane, self.workdir, self.options = plane, workdir, options
        self.webhook_port, self.health_port = free_port(), free_port()
        built = plane.kubectl("kustomize", str(folder("kueue", "config") / "default"))
        self.manifests: list[Manifest] = [item for item in yaml.safe_load_all(built) if item["kind"] not in ELSEWHERE]

    def __enter__(self) -> Self:
        installed = [adapted(manifest, self.webhook_port) for manifest in self.manifests]
        self.apply(installed)
        self.server = ServerProcess("kueue", self.command(), self.workdir / "kueue.log")
        self.server.start()
        try:
            self.server.wait_for(self.has_certificates)
            self.server.wait_for(self.takes_objects)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the manager; without its webhooks, which nobody answers any more, the cluster takes pods as before."""
        self.server.stop()
        webhooks = [manifest for manifest in self.manifests if manifest["kind"] in WEBHOOKS]
        self.plane.kubectl("delete", "-f", "-", stdin=yaml.safe_dump_all(webhooks))

    def apply(self, manifests: list[Manifest]) -> None:
        """Create objects, or bring them up to date."""
        documents = yaml.safe_dump_all(manifests)
        self.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=documents)

    def command(self) -> list[str]:
        """The manager with the configuration that it ships with, but for the options and places on this machine."""
        shipped = next(item for item in self.manifests if item["kind"] == "ConfigMap")["data"]
        config: Manifest = yaml.safe_load(shipped["controller_manager_config.yaml"]) | self.options
        config["leaderElection"]["leaderElect"] = False
        config["health"]["healthProbeBindAddress"] = f"127.0.0.1:{self.health_port}"
        config["metrics"]["bindAddress"] = "0"
        config["webhook"] = {"port": self.webhook_port, "host": "127.0.0.1", "certDir": str(self.workdir / "certs")}
        path = self.workdir / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        environment = f"KUBECONFIG={self.plane.kubeconfig(USER, GROUPS)}"
        flags = [f"--config={path}", "--feature-gates=VisibilityOnDemand=false", "--zap-log-level=2"]
        return [*self.plane.command_prefix, "env", environment, str(binary("kueue")), *flags]

    def has_certificates(self) -> bool:
        """Put the Secret that the manager fills where it looks for it, as a kubelet would; False while it is empty."""
        data = self.plane.admin.get(SECRET).json().get("data") or {}
        if "tls.crt" not in data:
            return False
        certificates = self.workdir / "certs"
        certificates.mkdir(exist_ok=True)
        for name in ("tls.key", "tls.crt"):  # the certificate last: it is what is waited for
            (certificates / name).write_bytes(base64.b64decode(data[name]))
        return True

    def takes_objects(self) -> bool:
        """Whether its webhooks answer the API server."""
        flavour = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "trial"}}
        path = "/apis/kueue.x-k8s.io/v1beta2/resourceflavors"
        return bool(self.plane.admin.post(path, json=flavour, params={"dryRun": "All"}).is_success)


def adapted(manifest: Manifest, port: int) -> Manifest:
    """A manifest of the installation where the manager is a process of this machine that listens at a port."""
    if manifest["kind"] == "Service" and manifest["metadata"]["name"] == "kueue-webhook-service":
        return {**manifest, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    for config in client_configs(manifest):
        config["service"]["port"] = port
    return manifest


def client_configs(manifest: Manifest) -> list[Manifest]:
    """Where a manifest says how the API server reaches the manager."""
    if manifest["kind"] in WEBHOOKS:
        return [webhook["clientConfig"] for webhook in manifest["webhooks"]]
    conversion = manifest.get("spec", {}).get("conversion") if manifest["kind"] == "CustomResourceDefinition" else None
    return [conversion["webhook"]["clientConfig"]] if conversion else []
