"""Emulator of Ascend's device plugin: it speaks the kubelet's real device-plugin API and has no chips.

As the real one, a loop asks the kubelet every few seconds which pods hold devices and writes their annotations through
the API server, once a pod. What a container gets differs by how the real one is started (`allocation`).
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import httpx

from testbed.ascend.allocation import NotAllocated, VolcanoChoice, with_device_files
from testbed.ascend.annotations import (
    REAL_DEVICES,
    Chips,
    Generation,
    Holder,
    annotations_of,
    device_name,
)
from testbed.ascend.kubelet_messages import messages
from testbed.control_plane.api_answers import found
from testbed.programs.commands import TestbedError

RESOURCE = "huawei.com/Ascend910"
SOCKET = "ascend910.sock"
HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"
# A path is no host name: without it the kubelet's server refuses the request's :authority.
CHANNEL_OPTIONS = [("grpc.default_authority", "localhost")]
CALL_SECONDS = 10


class DevicePlugin:
    """Registered with the kubelet while the context is open.

    Args:
        kubelet_folder: /var/lib/kubelet of the node.
        api: client of the API server that may read and patch pods.
        chips: how many the node has.
        poll_seconds: pause between two looks at who holds devices; the real plugin's is 5 s.
        generation: which version's annotation is written.
        unknown_addresses: chips whose device IP look-up fails ("-1").
        response: what a container gets for its devices: the device files, or a variable for Ascend's runtime.
        volcano: who has chosen the devices where Volcano does (`-volcanoType`); else the kubelet's choice holds.
    """

    def __init__(
        self,
        kubelet_folder: Path,
        api: httpx.Client,
        chips: int = 8,
        poll_seconds: float = 5.0,
        generation: Generation = "7.2",
        unknown_addresses: frozenset[int] = frozenset(),
        response: Callable[[Sequence[str]], Any] = with_device_files,
        volcano: VolcanoChoice | None = None,
    ) -> None:
        self.plugin_folder = kubelet_folder / "device-plugins"
        self.pod_resources = kubelet_folder / "pod-resources" / "kubelet.sock"
        self.api = api
        self.poll_seconds = poll_seconds
        self.generation = generation
        self.response = response
        self.volcano = volcano
        self.chosen: dict[frozenset[str], list[str]] = {}
        """Devices that Volcano gave instead of those that the kubelet names."""
        self.chips = Chips(
            addresses={chip: f"192.168.{101 + chip}.2" for chip in range(chips) if chip not in unknown_addresses}
        )
        self.health = dict.fromkeys(range(chips), HEALTHY)
        self.changed = threading.Condition()
        self.ended = threading.Event()
        self.errors: list[Exception] = []
        """What the loop met and went on after, for a test to look at."""

    def __enter__(self) -> Self:
        self.server = grpc.server(ThreadPoolExecutor(max_workers=4))
        self.server.add_generic_rpc_handlers([self.handlers()])
        self.server.add_insecure_port(f"unix:{self.plugin_folder / SOCKET}")
        self.server.start()
        request = messages["RegisterRequest"](version="v1beta1", endpoint=SOCKET, resource_name=RESOURCE)
        call(self.plugin_folder / "kubelet.sock", "/v1beta1.Registration/Register", request, "Empty")
        self.writer = threading.Thread(target=self.write_annotations, name="device plugin")
        self.writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.wake()
        self.writer.join()
        self.server.stop(grace=1).wait()

    def set_health(self, chip: int, health: str) -> None:
        """Report a chip as HEALTHY or UNHEALTHY from now on."""
        with self.changed:
            self.health[chip] = health
        self.wake()

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service that the kubelet calls."""
        return grpc.method_handlers_generic_handler(
            "v1beta1.DevicePlugin",
            {
                "GetDevicePluginOptions": unary(lambda _, __: messages["DevicePluginOptions"](), "Empty"),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                    self.list_and_watch,
                    request_deserializer=messages["Empty"].FromString,
                    response_serializer=serialize,
                ),
                "Allocate": unary(self.allocate, "AllocateRequest"),
            },
        )

    def list_and_watch(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """All chips with their health, again after each change."""
        context.add_callback(self.wake)
        told: dict[int, str] = {}
        while (news := self.next_health(told, context)) is not None:
            told = news
            devices = [messages["Device"](id=device_name(chip), health=health) for chip, health in told.items()]
            yield messages["ListAndWatchResponse"](devices=devices)

    def next_health(self, told: dict[int, str], context: grpc.ServicerContext) -> dict[int, str] | None:
        """The chips' health once it differs from what was told; None when nobody listens any more."""
        with self.changed:
            while context.is_active() and not self.ended.is_set():
                if self.health != told:
                    return dict(self.health)
                self.changed.wait()
        return None

    def wake(self) -> None:
        """Let the streams look whether something changed or they lost their listener."""
        with self.changed:
            self.changed.notify_all()

    def allocate(self, request: Any, context: grpc.ServicerContext) -> Any:
        """What containers with these devices get."""
        try:
            responses = [self.response(self.real(container.device_ids)) for container in request.container_requests]
        except NotAllocated as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return messages["AllocateResponse"](container_responses=responses)

    def real(self, names: Sequence[str]) -> list[str]:
        """The devices that a container gets for those that the kubelet names; all of a node are those themselves."""
        if self.volcano is None or len(names) == len(self.health):
            return list(names)
        chosen = self.volcano.devices(len(names))
        self.chosen[frozenset(names)] = chosen
        return chosen

    def write_annotations(self) -> None:
        """Annotate each pod that holds devices and has no annotation yet, until the plugin ends."""
        while not self.ended.wait(self.poll_seconds):
            try:
                for namespace, name, devices in self.holders():
                    self.annotate(namespace, name, devices)
            except (TestbedError, httpx.HTTPError, grpc.RpcError) as error:
                self.errors.append(error)

    def holders(self) -> Iterator[tuple[str, str, list[str]]]:
        """Namespace, name and devices of the pods that the kubelet gave some."""
        request = messages["ListPodResourcesRequest"]()
        response = call(self.pod_resources, "/v1.PodResourcesLister/List", request, "ListPodResourcesResponse")
        for pod in response.pod_resources:
            devices = [
                device
                for container in pod.containers
                for given in container.devices
                if given.resource_name == RESOURCE
                for device in given.device_ids
            ]
            if devices:
                yield pod.namespace, pod.name, devices

    def annotate(self, namespace: str, name: str, devices: list[str]) -> None:
        """Write the annotations unless they are there; the uid keeps them from a new pod of the same name.

        `huawei.com/AscendReal`, which Volcano may write too, tells that they are.
        """
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = found(self.api.get(path))
        # The kubelet hands out devices a moment before it writes the pod's first status.
        address = None if pod is None else pod["status"].get("hostIP")
        if address is None or REAL_DEVICES in pod["metadata"].get("annotations", {}):
            return
        holder = Holder(name=name, uid=pod["metadata"]["uid"], node_address=address)
        real = self.chosen.get(frozenset(devices), devices)
        annotations = annotations_of(holder, real, self.chips, self.generation, kubelet_names=devices)
        patch = {"metadata": {"uid": holder.uid, "annotations": annotations}}
        headers = {"content-type": "application/strategic-merge-patch+json"}
        response = self.api.patch(path, content=json.dumps(patch), headers=headers)
        if response.status_code != httpx.codes.CONFLICT:
            found(response)


def unary(method: Callable[[Any, grpc.ServicerContext], Any], request: str) -> grpc.RpcMethodHandler:
    """Handler of a method with one request and one response."""
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=messages[request].FromString, response_serializer=serialize
    )


def serialize(message: Any) -> bytes:
    """Bytes of a message."""
    return message.SerializeToString()


def call(socket: Path, method: str, request: Any, response: str) -> Any:
    """One call to a server of the kubelet."""
    with grpc.insecure_channel(f"unix:{socket}", options=CHANNEL_OPTIONS) as channel:
        send = channel.unary_unary(
            method, request_serializer=serialize, response_deserializer=messages[response].FromString
        )
        return send(request, timeout=CALL_SECONDS, wait_for_ready=True)
