"""Reading which cards MindX calls faulty, where it is installed and the operator may look."""

import asyncio
import logging
from collections.abc import Collection, Mapping

from arcface_operator.decision.fault_table.device_faults import DEVICE_INFO, DeviceFault, read_clusterd, read_plugin
from arcface_operator.kubernetes.client import FORBIDDEN, Api, ApiError, Unreachable, collection

PLUGINS_NAMESPACE, CLUSTERD_NAMESPACE = "kube-system", "mindx-dl"
"""Where MindX' parts write, whatever namespace they run in."""
CLUSTER_INFO = "cluster-info-device-"
"""Prefix, before a number from 0 on, of clusterd's ConfigMaps; each holds up to a thousand nodes."""
MOST_PARTS = 100

LOG = logging.getLogger(__name__)
Faults = dict[str, tuple[DeviceFault, ...]]
"""By node."""


class DeviceFaultReader:
    """Looks at faults where a gang has failed; without the right to, or without MindX, there are none."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def read(self, nodes: Collection[str]) -> tuple[Faults, ApiError | Unreachable | None]:
        """Faults on these nodes: by clusterd, which tells of all nodes at once, else by each node's plugin.

        Returns:
            What is known, and why nothing is of some of the nodes where an error kept it from us.
        """
        errors: list[ApiError | Unreachable] = []
        found = await self._of_clusterd(nodes, errors)
        if missing := sorted(set(nodes) - set(found)):
            found |= await self._of_plugins(missing, errors)
        return found, next(iter(errors), None) if set(nodes) - set(found) else None

    async def _of_clusterd(self, nodes: Collection[str], errors: list[ApiError | Unreachable]) -> Faults:
        """What clusterd tells of these nodes."""
        found: Faults = {}
        for number in range(MOST_PARTS):
            name = f"{CLUSTER_INFO}{number}"
            data = await self._data(CLUSTERD_NAMESPACE, name, errors)
            if data is None or len(found) == len(set(nodes)):
                break
            found |= read_clusterd(data.get(name, ""), nodes)
        return found

    async def _of_plugins(self, nodes: list[str], errors: list[ApiError | Unreachable]) -> Faults:
        """What the plugins of these nodes tell; where one may not be read, nor may the others."""
        first, *others = nodes
        data = await self._data(PLUGINS_NAMESPACE, f"{DEVICE_INFO}{first}", errors)
        if data is None:
            return {}
        asked = (self._data(PLUGINS_NAMESPACE, f"{DEVICE_INFO}{node}", errors) for node in others)
        told = dict(zip(nodes, (data, *await asyncio.gather(*asked)), strict=True))
        read = {node: read_plugin(each) for node, each in told.items() if each is not None}
        if broken := [node for node, faults in read.items() if faults is None]:
            where = f"{PLUGINS_NAMESPACE}/{DEVICE_INFO}{broken[0]}"
            LOG.warning(
                "%s is not as MindX documents it (and %d more): its cards count as well", where, len(broken) - 1
            )
        return {node: faults or () for node, faults in read.items()}

    async def _data(self, namespace: str, name: str, errors: list[ApiError | Unreachable]) -> Mapping[str, str] | None:
        """Content of a ConfigMap; None where there is none, or it is not ours to see, or an error says why not."""
        try:
            found = await self.api.find(f"{collection('v1', 'configmaps', namespace)}/{name}")
        except (ApiError, Unreachable) as error:
            if not isinstance(error, ApiError) or error.status != FORBIDDEN:
                errors.append(error)
            return None
        data = None if found is None else found.get("data") or {}
        return data if isinstance(data, dict) else None
