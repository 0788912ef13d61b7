"""Reading which cards MindX calls faulty, where it is installed and the operator may look."""

import asyncio
from collections.abc import Collection, Mapping

from arcface_operator.decision.fault_table.device_faults import DEVICE_INFO, DeviceFault, read_clusterd, read_plugin
from arcface_operator.kubernetes.client import FORBIDDEN, Api, ApiError, collection

PLUGINS_NAMESPACE, CLUSTERD_NAMESPACE = "kube-system", "mindx-dl"
"""Where MindX' parts write, whatever namespace they run in."""
CLUSTER_INFO = "cluster-info-device-"
"""Prefix, before a number from 0 on, of clusterd's ConfigMaps; each holds up to a thousand nodes."""
MOST_PARTS = 100

Faults = Mapping[str, tuple[DeviceFault, ...]]
"""By node."""


class DeviceFaultReader:
    """Looks at faults where a gang has failed; without the right to, or without MindX, there are none."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def read(self, nodes: Collection[str]) -> Faults:
        """Faults on these nodes: by clusterd, which tells of all nodes at once, else by each node's plugin."""
        found = await self._of_clusterd(nodes)
        missing = sorted(set(nodes) - set(found))
        if not missing:
            return found
        # One alone: where it may not be read, nor may the others.
        first, *others = missing
        data = await self._data(PLUGINS_NAMESPACE, f"{DEVICE_INFO}{first}")
        if data is None:
            return found
        rest = await asyncio.gather(*(self._data(PLUGINS_NAMESPACE, f"{DEVICE_INFO}{node}") for node in others))
        told = dict(zip(missing, (data, *rest), strict=True))
        return {**found, **{node: read_plugin(each) for node, each in told.items() if each is not None}}

    async def _of_clusterd(self, nodes: Collection[str]) -> dict[str, tuple[DeviceFault, ...]]:
        """What clusterd tells of these nodes."""
        found: dict[str, tuple[DeviceFault, ...]] = {}
        for number in range(MOST_PARTS):
            name = f"{CLUSTER_INFO}{number}"
            data = await self._data(CLUSTERD_NAMESPACE, name)
            if data is None or len(found) == len(set(nodes)):
                break
            found |= read_clusterd(data.get(name, ""), nodes)
        return found

    async def _data(self, namespace: str, name: str) -> dict[str, str] | None:
        """Content of a ConfigMap; None where there is none, or it is not ours to see."""
        try:
            found = await self.api.find(f"{collection('v1', 'configmaps', namespace)}/{name}")
        except ApiError as error:
            if error.status == FORBIDDEN:
                return None
            raise
        return None if found is None else dict(found.get("data") or {})
