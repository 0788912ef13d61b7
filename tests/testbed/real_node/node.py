"""A real Kubernetes node: kubelet, kube-proxy, containerd, runc and a bridge network, in namespaces of their own.

    with real_cluster(workdir) as node:
        node.claim("default", "faces", folder)
        node.plane.kubectl("get", "nodes")

The API server runs in the node's network and is reached at the network's `node_address`; so are the pods, at their
own addresses. Services have their addresses, but no names: there is no DNS.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.control_plane.api_answers import answer, found
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.storage import Volume, bind_claim
from testbed.images.oci_images import PAUSE_IMAGE, Image, busybox_image, pause_image, trainer_image, write_image
from testbed.programs.binaries import binary
from testbed.programs.commands import TestbedError, run
from testbed.programs.processes import ServerProcess
from testbed.real_node.cgroup_tree import CgroupTree, hierarchies
from testbed.real_node.network import NodeNetwork
from testbed.real_node.node_config import CONTAINERD_SOCKET, containerd_config, kubelet_config, pod_network_config
from testbed.real_node.packages import CNI_PLUGINS
from testbed.real_node.private_space import PrivateSpace

KUBELET_FOLDER = "/var/lib/kubelet"


class RealNode:
    """A Ready node of the given control plane while the context is open."""

    def __init__(self, plane: ControlPlane, network: NodeNetwork, workdir: Path, name: str = "real-node") -> None:
        self.plane = plane
        self.network = network
        self.workdir = workdir
        self.name = name
        self.api = plane.admin

    def __enter__(self) -> Self:
        self.workdir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.cgroups = stack.enter_context(CgroupTree(self.network.name))
            self.space = stack.enter_context(PrivateSpace(self.network, self.workdir))
            self.start_containerd(stack)
            for image in (pause_image(self.workdir), busybox_image(), trainer_image()):
                self.add_image(image)
            stack.callback(self.leave)
            self.start_kubelet(stack)
            self.start_proxy(stack)
            self.stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()

    @property
    def kubelet_folder(self) -> Path:
        """/var/lib/kubelet of the node, as processes of this machine reach it."""
        return self.space.path(KUBELET_FOLDER)

    def import_image(self, tar: Path) -> None:
        """Take the images of an OCI-layout tar; pods name them with imagePullPolicy Never or IfNotPresent."""
        self.space.run("ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "import", str(tar))

    def name_image(self, image: str, other: str) -> None:
        """Give an image that the node has another name besides."""
        command = ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "tag", "--force"]
        self.space.run(*command, image, other)

    def add_image(self, image: Image) -> None:
        """Write an image and take it."""
        self.import_image(write_image(image, self.workdir / "image.tar"))

    def claim(self, namespace: str, name: str, folder: Path, volume: Volume = "hostPath") -> None:
        """A bound claim on a folder of this machine; see `Volume` for what happens to its owner."""
        bind_claim(self.api, self.name, namespace, name, folder, volume)

    def start_containerd(self, stack: ExitStack) -> None:
        """Start containerd and wait until it listens."""
        networks = self.workdir / "cni"
        networks.mkdir(exist_ok=True)
        (networks / "pods.conflist").write_text(pod_network_config(self.network.pod_range))
        config = self.workdir / "containerd.toml"
        config.write_text(containerd_config(PAUSE_IMAGE, networks, CNI_PLUGINS))
        containerd = self.start(stack, "containerd", "containerd", "--config", str(config))
        containerd.wait_for(self.space.path(CONTAINERD_SOCKET).exists)

    def start_kubelet(self, stack: ExitStack) -> None:
        """Start the kubelet and wait until its node can take pods."""
        resolv_conf = self.workdir / "resolv.conf"
        resolv_conf.touch()
        config = self.workdir / "kubelet.json"
        config.write_text(kubelet_config(self.plane.ca_file, self.cgroups.path, resolv_conf))
        credentials = self.plane.kubeconfig(f"system:node:{self.name}", ["system:nodes"])
        kubelet = self.start(
            stack,
            "kubelet",
            str(binary("kubelet")),
            f"--config={config}",
            f"--kubeconfig={credentials}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.network.node_address}",
        )
        kubelet.wait_for(self.is_ready)

    def start_proxy(self, stack: ExitStack) -> None:
        """Start kube-proxy, by which pods reach the API server at the address of its Service."""
        credentials = self.plane.kubeconfig("system:kube-proxy", ["system:authenticated"])
        self.start(
            stack,
            "kube-proxy",
            str(binary("kube-proxy")),
            f"--kubeconfig={credentials}",
            f"--hostname-override={self.name}",
            "--proxy-mode=iptables",
            # These are settings of the whole machine.
            *("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s"),
            *("--conntrack-tcp-timeout-close-wait=0s", "--oom-score-adj=0"),
        )

    def start(self, stack: ExitStack, name: str, *command: str) -> ServerProcess:
        """Start a part of the node; its log is NAME.log in the working directory."""
        server = ServerProcess(name, [*self.space.command_prefix, *command], self.workdir / f"{name}.log")
        stack.callback(server.stop)
        server.start()
        return server

    def is_ready(self) -> bool:
        """Whether the node is registered, Ready and free of start-up taints."""
        node = found(self.api.get(f"/api/v1/nodes/{self.name}"))
        if node is None:
            return False
        conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    def leave(self) -> None:
        """Take the node and its pods out of the cluster, so that a plane that goes on does not wait for them."""
        pods = answer(self.api.get("/api/v1/pods", params={"fieldSelector": f"spec.nodeName={self.name}"}))["items"]
        for pod in pods:
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            found(self.api.delete(f"/api/v1/namespaces/{namespace}/pods/{name}", params={"gracePeriodSeconds": 0}))
        found(self.api.delete(f"/api/v1/nodes/{self.name}"))


@contextmanager
def real_cluster(workdir: Path, *, is_audited: bool = False) -> Iterator[RealNode]:
    """A control plane and its one real node, in a network of their own."""
    with (
        NodeNetwork() as network,
        ControlPlane(
            workdir / "plane",
            address=network.node_address,
            command_prefix=network.command_prefix,
            is_audited=is_audited,
            # So that the API server's own Service leads to it.
            flags={"kube-apiserver": ["--endpoint-reconciler-type=lease"]},
        ) as plane,
        RealNode(plane, network, workdir / "node") as node,
    ):
        yield node


def why_impossible() -> str | None:
    """Why this machine cannot run a node, or None."""
    if os.geteuid() != 0:
        return "a real node needs root: namespaces, mounts and cgroups"
    try:
        run(["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"])
        for hierarchy in hierarchies():
            if not os.access(hierarchy, os.W_OK):
                return f"a real node needs a cgroup of its own and {hierarchy} is read-only"
    except TestbedError as error:
        return f"a real node needs namespaces and cgroups of its own: {error}"
    return None
