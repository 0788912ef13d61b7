"""Claims that a pod only reads, said at the volume.

A read-only mount alone does not tell the kubelet: it still changes the group of every file on the volume to the pod's
fsGroup, which takes hours for millions of images and fails for good on exports that refuse it (csi-driver-nfs asks for
it by `fsGroupPolicy: File`). `readOnly` at the claim spares both (supportsFSGroup in Kubernetes'
pkg/volume/csi/csi_mounter.go).
"""

from collections.abc import Iterator
from typing import Any

from arcface_operator.manifests.metadata import Manifest


def with_read_claims(pod: Manifest) -> Manifest:
    """The pod, its claims `readOnly` where no container mounts them to write.

    A claim that serves two purposes is mounted once by the kubelet, so that one writer makes all its volumes writable;
    containers and volumes of the user's template count like ours.
    """
    volumes = pod["spec"]["volumes"]
    written_volumes = {name for container in _containers(pod["spec"]) for name in _written_by(container)}
    written = {_claim_of(volume) for volume in volumes if volume["name"] in written_volumes}
    return {**pod, "spec": {**pod["spec"], "volumes": [_with_access(volume, written) for volume in volumes]}}


def _with_access(volume: Manifest, written: set[str | None]) -> Manifest:
    """The volume, read-only if it is of a claim that nobody writes."""
    if (claim := _claim_of(volume)) is None or claim in written:
        return volume
    return {**volume, "persistentVolumeClaim": {**volume["persistentVolumeClaim"], "readOnly": True}}


def _claim_of(volume: Manifest) -> str | None:
    """Name of a volume's claim; None for other volumes, and for what the API server will refuse."""
    source = volume.get("persistentVolumeClaim")
    name = source.get("claimName") if isinstance(source, dict) else None
    return name if isinstance(name, str) else None


def _containers(pod_spec: Manifest) -> Iterator[Manifest]:
    """All containers, also those that a user's template adds."""
    return _maps(pod_spec, "initContainers", "containers")


def _written_by(container: Manifest) -> Iterator[str]:
    """Volumes that a container may write to; devices count, since nothing keeps it from that."""
    for mount in _maps(container, "volumeMounts"):
        if mount.get("readOnly") is not True and isinstance(mount.get("name"), str):
            yield mount["name"]
    yield from (str(device.get("name")) for device in _maps(container, "volumeDevices"))


def _maps(parent: Manifest, *lists: str) -> Iterator[dict[str, Any]]:
    """Maps in lists of a template that nobody has checked yet."""
    for key in lists:
        items = parent.get(key)
        yield from (item for item in items if isinstance(item, dict)) if isinstance(items, list) else ()
