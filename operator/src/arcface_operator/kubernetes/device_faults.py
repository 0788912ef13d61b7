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
AT_ONCE = 64
"""Plugins that are asked side by side; where none of so many nodes has one, the others are not asked."""

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
        unread = (error for error in errors if not isinstance(error, ApiError) or error.status != FORBIDDEN)
        return found, next(unread, None) if set(nodes) - set(found) else None

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
        """What the plugins of these nodes tell: some may have none; if the first may not be read, nor may others."""
        told: dict[str, Mapping[str, str]] = {}
        refusals: list[ApiError | Unreachable] = []
        for some in (nodes[:1], *(nodes[at : at + AT_ONCE] for at in range(1, len(nodes), AT_ONCE))):
            names = (f"{DEVICE_INFO}{node}" for node in some)
            data = await asyncio.gather(*(self._data(PLUGINS_NAMESPACE, name, refusals) for name in names))
            told |= {node: each for node, each in zip(some, data, strict=True) if each is not None}
            if not told and (refusals or len(some) == AT_ONCE):
                break
        errors += refusals
        read = {node: read_plugin(each) for node, each in told.items()}
        if broken := [node for node, faults in read.items() if faults is None]:
            where = f"{PLUGINS_NAMESPACE}/{DEVICE_INFO}{broken[0]}"
            LOG.warning(
                "%s is not as MindX documents it (and %d more): its cards count as well", where, len(broken) - 1
            )
        return {node: faults or () for node, faults in read.items()}

    async def _data(self, namespace: str, name: str, errors: list[ApiError | Unreachable]) -> Mapping[str, str] | None:
        """Content of a ConfigMap; None where there is none, or an error says why it is not to be seen."""
        try:
            found = await self.api.find(f"{collection('v1', 'configmaps', namespace)}/{name}")
        except (ApiError, Unreachable) as error:
            errors.append(error)
            return None
        data = None if found is None else found.get("data") or {}
        return data if isinstance(data, dict) else None
