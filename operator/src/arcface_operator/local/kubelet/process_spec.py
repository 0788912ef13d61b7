"""From a pod manifest to the arguments, environment and files of a local process; pure.

The absolute paths of the container become paths of this machine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from arcface_api.contract.pod_environment import LOOPBACK, TERMINATION_LOG
from arcface_api.errors import InvalidInput
from arcface_operator.local.kubelet.directories import Claims
from arcface_operator.manifests.metadata import Manifest

DEFAULT_GRACE = 30
"""Kubernetes' terminationGracePeriodSeconds where a pod says nothing."""


@dataclass(frozen=True, kw_only=True)
class PodPlacement:
    """Where a pod runs on this machine."""

    folder: Path
    """The pod's own folder: ConfigMap files, emptyDirs, termination message."""
    address: str
    """Its loopback address."""
    hosts: Mapping[str, str]
    """Addresses of the names that the cluster's DNS would know."""
    claims: Claims
    """Directories of the claims."""
    config_maps: Mapping[str, Manifest]
    """ConfigMaps by name."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """A process to start and what it must find."""

    arguments: list[str]
    environment: dict[str, str]
    folders: list[Path]
    """To be created."""
    files: dict[Path, str]
    """To be written."""
    termination_log: Path
    grace_seconds: float


def build_process_spec(pod: Manifest, placement: PodPlacement) -> ProcessSpec:
    """The pod's first container as a process; `left_out` names what else the pod has."""
    container = pod["spec"]["containers"][0]
    sources = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    termination_log = placement.folder / "termination-log"
    mounted = {
        mount["mountPath"]: _mount_source(mount, sources, placement) for mount in container.get("volumeMounts", [])
    }
    places = {path: str(source) for path, source in mounted.items()}
    places[container.get("terminationMessagePath", TERMINATION_LOG)] = str(termination_log)
    environment = {item["name"]: _variable(item, pod, placement) for item in container.get("env", [])}
    return ProcessSpec(
        arguments=relocate([*container["command"], *container.get("args", [])], places),
        environment=relocate(environment, places),
        folders=[_volume_folder(placement, name) for name, volume in sources.items() if _is_own(volume)],
        files=_config_files(sources, placement, places) | annotation_files(pod, placement),
        termination_log=termination_log,
        grace_seconds=pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE),
    )


def left_out(pod: Manifest) -> list[str]:
    """Containers of the pod that are not run here: their images are not at hand."""
    spec = pod["spec"]
    return [container["name"] for container in [*spec.get("initContainers", []), *spec["containers"][1:]]]


def _is_own(volume: Manifest) -> bool:
    """Whether the volume lives in the pod's folder."""
    return any(kind in volume for kind in ("emptyDir", "configMap", "downwardAPI"))


def _volume_folder(placement: PodPlacement, name: str) -> Path:
    """Folder of a volume that lives in the pod's folder."""
    return placement.folder / "volumes" / name


def _mount_source(mount: Manifest, sources: Mapping[str, Manifest], placement: PodPlacement) -> Path:
    """Path on this machine that stands for a mount."""
    name = mount["name"]
    if name not in sources:
        raise InvalidInput(f"volumeMount {mount['mountPath']}: the pod has no volume {name!r}; correct the template")
    return _source_of(sources[name], placement) / str(mount.get("subPath", ""))


def _source_of(volume: Manifest, placement: PodPlacement) -> Path:
    """Directory of a volume."""
    name = volume["name"]
    if _is_own(volume):
        return _volume_folder(placement, name)
    if "persistentVolumeClaim" in volume:
        claim = _part(volume, "persistentVolumeClaim", "claimName")
        if claim not in placement.claims:
            raise InvalidInput(f"volume {name}: claim {claim!r} has no directory on this machine; leave it out")
        return placement.claims[claim]
    if "hostPath" in volume:
        return Path(_part(volume, "hostPath", "path"))
    kind = next((key for key in volume if key != "name"), "nothing")
    raise InvalidInput(f"volume {name}: {kind} cannot be mounted on this machine; leave it out of the template")


def _part(volume: Manifest, kind: str, field: str) -> str:
    """Text in the source of a volume, which a user's template may have got wrong."""
    source = volume[kind]
    if not isinstance(source, dict) or not isinstance(source.get(field), str):
        raise InvalidInput(f"volume {volume['name']}: {kind} needs {field}; correct the template")
    return str(source[field])


def _config_files(
    sources: Mapping[str, Manifest], placement: PodPlacement, places: Mapping[str, str]
) -> dict[Path, str]:
    """Files of the pod's ConfigMaps."""
    files = {}
    for name, volume in sources.items():
        if "configMap" not in volume:
            continue
        wanted = _part(volume, "configMap", "name")
        if wanted not in placement.config_maps:
            raise InvalidInput(f"volume {name}: ConfigMap {wanted!r} is not at hand on this machine; leave it out")
        config_map = placement.config_maps[wanted]
        for key, text in config_map["data"].items():
            files[_volume_folder(placement, name) / PurePosixPath(key)] = relocate_file(key, text, places)
    return files


def annotated(pod: Manifest, annotations: Mapping[str, str]) -> Manifest:
    """The pod with more annotations."""
    return {**pod, "metadata": {**pod["metadata"], "annotations": {**_annotations(pod), **annotations}}}


def annotation_files(pod: Manifest, placement: PodPlacement) -> dict[Path, str]:
    """Files that show annotations of the pod."""
    files = {}
    for volume in pod["spec"].get("volumes", []):
        for item in volume.get("downwardAPI", {}).get("items", []):
            shown = {f"metadata.annotations['{key}']": text for key, text in _annotations(pod).items()}
            field = item.get("fieldRef", {}).get("fieldPath")
            files[_volume_folder(placement, volume["name"]) / PurePosixPath(item["path"])] = shown.get(field, "")
    return files


def _annotations(pod: Manifest) -> dict[str, str]:
    """Annotations of a pod."""
    found: dict[str, str] = pod["metadata"].get("annotations", {})
    return found


def _variable(item: Manifest, pod: Manifest, placement: PodPlacement) -> str:
    """Value of an environment variable."""
    if "valueFrom" in item:
        return _field_value(item, pod, placement)
    value = item.get("value", "")
    if not isinstance(value, str) or "\0" in value:
        raise InvalidInput(f"env {item['name']}: value {value!r} must be text; quote it in the template")
    return placement.hosts.get(value, value)


def _field_value(item: Manifest, pod: Manifest, placement: PodPlacement) -> str:
    """Value that the cluster would fill in from the pod."""
    known = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": pod["metadata"].get("namespace", "default"),
        "status.podIP": placement.address,
        "status.hostIP": LOOPBACK,
    }
    for field, value in known.items():
        if item["valueFrom"] == {"fieldRef": {"fieldPath": field}}:
            return str(value)
    asked = json.dumps(item["valueFrom"])
    raise InvalidInput(f"env {item['name']}: {asked} is not known on this machine; give a plain value")


def relocate(value: Any, places: Mapping[str, str]) -> Any:
    """`value` with every string at or below a container's path moved to where that path is on this machine.

    Args:
        value: a string, or lists and maps of them as in JSON; keys and other values stay.
        places: mount path in the container to path on this machine; the longest match decides.
    """
    if isinstance(value, str):
        return _relocate_path(value, places)
    if isinstance(value, list):
        return [relocate(item, places) for item in value]
    if isinstance(value, dict):
        return {key: relocate(item, places) for key, item in value.items()}
    return value


def _relocate_path(text: str, places: Mapping[str, str]) -> str:
    """One string moved, or as it is when it is no path in a mount."""
    for mount in sorted(places, key=len, reverse=True):
        path = mount.rstrip("/")
        if text == path or text.startswith(f"{path}/"):
            return places[mount].rstrip("/") + text[len(path) :]
    return text


def relocate_file(name: str, text: str, places: Mapping[str, str]) -> str:
    """Content of a ConfigMap's file: JSON is relocated, anything else stays."""
    if not name.endswith(".json"):
        return text
    return json.dumps(relocate(json.loads(text), places), indent=2)
