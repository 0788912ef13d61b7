"""Configuration of containerd, the pod network and the kubelet: values in, file contents out.

The settings are those that were measured to work without CAP_SYS_RESOURCE, on cgroup v1, beside other users of the
machine.
"""

import json
from pathlib import Path

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


def containerd_config(pause_image: str, cni_folder: Path, cni_plugins: Path) -> str:
    """Containerd's config.toml."""
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause_image}"
# Without it every sandbox fails where CAP_SYS_RESOURCE is missing: the pause process may not get a lower score.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_plugins}"
conf_dir = "{cni_folder}"
"""


def pod_network_config(pod_range: str) -> str:
    """CNI configuration: a bridge that is the pods' gateway, and no packet filter."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": pod_range}]], "dataDir": "/run/cni"}
    bridge = {"type": "bridge", "bridge": "cni0", "isDefaultGateway": True, "ipMasq": False, "ipam": ipam}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}, indent=2)


def kubelet_config(client_ca: Path, cgroup_root: str, resolv_conf: Path) -> str:
    """KubeletConfiguration; JSON is YAML."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(client_ca)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup_root,
            "enforceNodeAllocatable": [],
            "localStorageCapacityIsolation": False,
            "makeIPTablesUtilChains": False,
            "protectKernelDefaults": True,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "resolvConf": str(resolv_conf),
            # Its devices are known to the scheduler at once, not after ten seconds; told only where something changes.
            "nodeStatusUpdateFrequency": "1s",
            "nodeStatusReportFrequency": "5m",
            # Disk pressure of the machine that runs the tests is not the tests' concern.
            "evictionHard": dict.fromkeys(("nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"),
            "imageGCHighThresholdPercent": 100,
        },
        indent=2,
    )
