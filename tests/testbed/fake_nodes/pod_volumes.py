"""What the container of a played pod finds: its variables, ConfigMaps as files, annotations by the downward API."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from testbed.fake_nodes.scripts import Manifest

ReadMap = Callable[[str], Awaitable[Manifest | None]]
"""A ConfigMap of the pod's namespace by its name; None where there is none."""
ANNOTATION = re.compile(r"metadata\.annotations\['([^']+)'\]")


def container_environment(pod: Manifest, address: str) -> dict[str, str]:
    """Variables of its first container; of what the kubelet knows, its name and address."""
    known = {"metadata.name": pod["metadata"]["name"], "status.podIP": address}
    variables = {}
    for each in pod["spec"]["containers"][0].get("env", []):
        source = each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        variables[each["name"]] = each.get("value", "") if source is None else known.get(source, "")
    return variables


class PodVolumes:
    """Its volumes, in a folder of this machine."""

    def __init__(self, pod: Manifest, folder: Path, read_map: ReadMap) -> None:
        self.folder, self.read_map = folder, read_map
        self.volumes: dict[str, Manifest] = {each["name"]: each for each in pod["spec"].get("volumes", [])}
        mounts = pod["spec"]["containers"][0].get("volumeMounts", [])
        self.mounts = {each["mountPath"]: each["name"] for each in mounts}

    def path(self, mounted: Path) -> Path:
        """Where a file lies that a container sees in one of its mounts."""
        return self.folder / self.mounts[str(mounted.parent)] / mounted.name

    def show(self, pod: Manifest) -> None:
        """Write the annotations that the container is to see."""
        annotations = pod["metadata"].get("annotations", {})
        for name, volume in self.volumes.items():
            for item in volume.get("downwardAPI", {}).get("items", []):
                found = ANNOTATION.fullmatch(item["fieldRef"]["fieldPath"])
                self._write(name, item["path"], "" if found is None else annotations.get(found[1], ""))

    async def sync(self) -> bool:
        """Write the ConfigMaps as they are; whether all are there, without which no container starts."""
        is_whole = True
        for name, volume in self.volumes.items():
            if "configMap" not in volume:
                continue
            found = await self.read_map(volume["configMap"]["name"])
            is_whole = is_whole and found is not None
            for file, text in ((found or {}).get("data") or {}).items():
                self._write(name, file, text)
        return is_whole

    def _write(self, volume: str, file: str, text: str) -> None:
        """By one rename, as the kubelet does: whoever reads finds the one or the other."""
        path = self.folder / volume / file
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{file}")
        hidden.write_text(text)
        hidden.replace(path)
