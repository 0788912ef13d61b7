"""Messages of the kubelet's device-plugin (v1beta1) and pod-resources (v1) APIs, as far as the emulator uses them.

Built from a table at import instead of generated: the fields' numbers are their places in the list, and fields that
are left out are skipped by the wire format. A map is, on the wire, a list of entries with a key and a value.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "arcface.testbed"
TABLE = {
    "Empty": [],
    "RegisterRequest": ["version", "endpoint", "resource_name"],
    "DevicePluginOptions": [],
    "Device": ["id", "health"],
    "ListAndWatchResponse": ["devices: Device*"],
    "ContainerAllocateRequest": ["device_ids: *"],
    "AllocateRequest": ["container_requests: ContainerAllocateRequest*"],
    "Entry": ["key", "value"],
    "Mount": ["container_path", "host_path"],
    "DeviceSpec": ["container_path", "host_path", "permissions"],
    "ContainerAllocateResponse": ["envs: Entry*", "mounts: Mount*", "devices: DeviceSpec*"],
    "AllocateResponse": ["container_responses: ContainerAllocateResponse*"],
    "ListPodResourcesRequest": [],
    "ContainerDevices": ["resource_name", "device_ids: *"],
    "ContainerResources": ["name", "devices: ContainerDevices*"],
    "PodResources": ["name", "namespace", "containers: ContainerResources*"],
    "ListPodResourcesResponse": ["pod_resources: PodResources*"],
}
"""Message to its fields: `name` is a string, `name: Type` a message, and a star a list."""


def build_messages() -> dict[str, Any]:
    """Message classes by name."""
    file = descriptor_pb2.FileDescriptorProto(name="kubelet.proto", package=PACKAGE, syntax="proto3")
    for name, fields in TABLE.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields, start=1):
            add_field(message, number, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in TABLE}


def add_field(message: Any, number: int, text: str) -> None:
    """Add one field of the table to a message's description."""
    kinds = descriptor_pb2.FieldDescriptorProto
    name, _, kind = (part.strip() for part in text.partition(":"))
    field = message.field.add(name=name, number=number)
    field.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
    field.type = kinds.TYPE_MESSAGE if kind.strip("*") else kinds.TYPE_STRING
    if kind.strip("*"):
        field.type_name = f".{PACKAGE}.{kind.strip('*')}"


messages = build_messages()
"""Message classes by name."""
