"""What a container gets for its devices, by the ways in which the real device plugin is started.

Read in mind-cluster, `ascend-device-plugin/pkg/server/plugin.go` (`Allocate`, `setNPUDeviceMount`, `useVolcano`), and
`pkg/common/common.go` (`SetAscendRuntimeEnv`, `FilterPods`).
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import httpx

from testbed.ascend.annotations import VOLCANO_DEVICES, chip_of
from testbed.ascend.kubelet_messages import messages
from testbed.control_plane.api_answers import answer

HOST_DEVICE = "/dev/null"
"""Stands for each device file of the node, which has none: containerd makes the container's by the host's."""
COMMON_DEVICES = ("/dev/davinci_manager", "/dev/hisi_hdc", "/dev/devmm_svm")
PREDICATE_TIME = "predicate-time"
"""When Volcano chose a node for the pod, in nanoseconds."""
ALLOCATED = str(2**64 - 1)
"""The same once the pod has its devices."""
LOOKS = 3


class NotAllocated(Exception):  # noqa: N818 - reads as what it says
    """The plugin refuses a request: the kubelet ends the pod as UnexpectedAdmissionError."""


def with_device_files(names: Sequence[str]) -> Any:
    """Without Ascend's container runtime: device files, and no environment at all."""
    paths = [*COMMON_DEVICES, *(f"/dev/davinci{chip_of(name)}" for name in names)]
    specs = [messages["DeviceSpec"](container_path=path, host_path=HOST_DEVICE, permissions="rw") for path in paths]
    return messages["ContainerAllocateResponse"](devices=specs)


def with_runtime(names: Sequence[str]) -> Any:
    """With Ascend's container runtime (ASCEND_DOCKER_RUNTIME=True): variables by which it mounts the devices itself."""
    visible = ",".join(str(chip_of(name)) for name in names)  # in the kubelet's order
    values = {"ASCEND_VISIBLE_DEVICES": visible, "ASCEND_RUNTIME_OPTIONS": ""}
    entries = [messages["Entry"](key=key, value=value) for key, value in values.items()]
    return messages["ContainerAllocateResponse"](envs=entries)


class VolcanoChoice:
    """The devices that Volcano has chosen, as its annotations on pods tell (`-volcanoType=true`).

    The kubelet does not tell for which pod it asks: of the pods that have as many devices in their annotation and none
    in their hands, it is the one that was scheduled first.
    """

    def __init__(self, api: httpx.Client, look_again_seconds: float = 1.0) -> None:
        self.api = api
        self.look_again_seconds = look_again_seconds

    def devices(self, count: int) -> list[str]:
        """Names of the devices of the pod that a request for so many must be about."""
        for look in range(LOOKS):
            if pods := [pod for pod in self._pods() if _is_about(pod, count)]:
                oldest = min(pods, key=lambda pod: int(_annotations(pod).get(PREDICATE_TIME, ALLOCATED)))
                self._mark(oldest)
                return _annotations(oldest)[VOLCANO_DEVICES].split(",")
            if look < LOOKS - 1:
                time.sleep(self.look_again_seconds)
        raise NotAllocated("not get valid pod")

    def _pods(self) -> list[dict[str, Any]]:
        """Pods that have not ended; the test bed has one node with devices."""
        selector = "status.phase!=Succeeded,status.phase!=Failed"
        return answer(self.api.get("/api/v1/pods", params={"fieldSelector": selector}))["items"]

    def _mark(self, pod: dict[str, Any]) -> None:
        """Keep the pod from being taken for another one's."""
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        patch = {"metadata": {"uid": pod["metadata"]["uid"], "annotations": {PREDICATE_TIME: ALLOCATED}}}
        headers = {"content-type": "application/strategic-merge-patch+json"}
        answer(self.api.patch(path, content=json.dumps(patch), headers=headers))


def _is_about(pod: dict[str, Any], count: int) -> bool:
    """Whether a pod waits for so many devices that Volcano has chosen."""
    chosen = _annotations(pod)
    is_free = "deletionTimestamp" not in pod["metadata"] and chosen.get(PREDICATE_TIME) != ALLOCATED
    return is_free and VOLCANO_DEVICES in chosen and len(chosen[VOLCANO_DEVICES].split(",")) == count


def _annotations(pod: dict[str, Any]) -> dict[str, str]:
    """Annotations of a pod."""
    return pod["metadata"].get("annotations", {})
