"""Reading what jobs need of their cluster: claims, nodes and the kinds of gang schedulers."""

import asyncio
from collections.abc import Callable, Iterable

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.observation import ClaimView, Prerequisites, view_claim
from arcface_operator.decision.prerequisites import claims_of
from arcface_operator.kubernetes.client import FORBIDDEN, Api, ApiError, collection
from arcface_operator.manifests.gang import POD_GROUP_VERSIONS
from arcface_operator.manifests.metadata import Manifest

NODES_AGE_SECONDS = 5.0
"""For which a list of nodes serves all jobs: hundreds may start at once."""
BOUND_AGE_SECONDS = 2.0
"""For which a bound claim is taken to be bound still: many jobs of a team share one."""
PAGE = 500


class PrerequisitesReader:
    """Looks at the cluster on behalf of jobs that wait."""

    def __init__(self, api: Api, clock: Callable[[], float]) -> None:
        self.api = api
        self.clock = clock
        self.nodes: list[Manifest] | None = []
        self.listed_at: float | None = None
        self.listing = asyncio.Lock()
        self.bound: dict[tuple[str, str], tuple[float, ClaimView]] = {}
        """Claims that were bound a moment ago, and when that was."""

    async def read(self, job: ArcFaceTrainingJob) -> Prerequisites:
        """What this job needs, as it is now."""
        names = list(claims_of(job))
        claims, devices, missing = await asyncio.gather(
            asyncio.gather(*(self._claim(job.metadata.namespace, name) for name in names)),
            self._devices(job),
            self._missing_kinds(job),
        )
        return Prerequisites(claims=dict(zip(names, claims, strict=True)), devices=devices, missing_kinds=missing)

    async def _claim(self, namespace: str, name: str) -> ClaimView | None:
        """A claim, and whether its class binds it only with a pod."""
        now = self.clock()
        self.bound = {key: known for key, known in self.bound.items() if now - known[0] < BOUND_AGE_SECONDS}
        if (namespace, name) in self.bound:
            return self.bound[namespace, name][1]
        claim = await self.api.find(f"{collection('v1', 'persistentvolumeclaims', namespace)}/{name}")
        view = None if claim is None else await self._viewed(claim)
        if view is not None and view.phase == "Bound":
            self.bound[namespace, name] = self.clock(), view
        return view

    async def _viewed(self, claim: Manifest) -> ClaimView:
        """What a claim says, and whether its class waits for a pod."""
        storage_class = claim.get("spec", {}).get("storageClassName")
        waits = False
        if claim.get("status", {}).get("phase") == "Pending" and storage_class:
            waits = await self._waits_for_pod(storage_class)
        return view_claim(claim, waits)

    async def _waits_for_pod(self, storage_class: str) -> bool:
        """Whether a class binds claims only once a pod asks; in doubt, where classes are not ours to see, it does."""
        try:
            found = await self.api.find(f"{collection('storage.k8s.io/v1', 'storageclasses', None)}/{storage_class}")
        except ApiError as error:
            if error.status == FORBIDDEN:
                return True
            raise
        return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"

    async def _devices(self, job: ArcFaceTrainingJob) -> tuple[int, ...] | None:
        """Devices of the job's resource on each node that has any; None where nodes are not ours to see."""
        if job.spec.workers.accelerator != "ascend":
            return ()
        async with self.listing:
            if self.listed_at is None or self.clock() - self.listed_at > NODES_AGE_SECONDS:
                self.nodes = await self._allocatable()
                self.listed_at = self.clock()
        if self.nodes is None:
            return None
        counts = (node.get(job.spec.workers.resource_name, "0") for node in self.nodes)
        return tuple(int(count) for count in counts if count.isdigit() and count != "0")

    async def _allocatable(self) -> list[Manifest] | None:
        """Amounts that each node offers to pods; None where nodes are not ours to see."""
        try:
            return await self._list_nodes()
        except ApiError as error:
            if error.status == FORBIDDEN:
                return None
            raise

    async def _list_nodes(self) -> list[Manifest]:
        """Amounts that each node offers to pods."""
        query: dict[str, str | int] = {"limit": PAGE}
        found: list[Manifest] = []
        while True:
            page = await self.api.get(collection("v1", "nodes", None), query)
            found += [node.get("status", {}).get("allocatable", {}) for node in page.get("items", [])]
            following = page["metadata"].get("continue")
            if not following:
                return found
            query["continue"] = following

    async def _missing_kinds(self, job: ArcFaceTrainingJob) -> tuple[str, ...]:
        """Kinds of the job's gang scheduler that the API server does not serve."""
        version = POD_GROUP_VERSIONS.get(job.spec.scheduling.gang)
        if version is None:
            return ()
        served = await self.api.find(f"/apis/{version}")
        kinds = [] if served is None else [resource["kind"] for resource in served.get("resources", [])]
        return () if "PodGroup" in kinds else (f"PodGroup of {version}",)

    async def lost(self, names: Iterable[str]) -> frozenset[str]:
        """Those of the nodes that are gone or do not answer."""
        asked = sorted(set(names))
        states = await asyncio.gather(*(self._is_lost(name) for name in asked))
        return frozenset(name for name, lost in zip(asked, states, strict=True) if lost)

    async def _is_lost(self, name: str) -> bool:
        """Whether nobody will confirm that pods have left a node."""
        try:
            node = await self.api.find(f"{collection('v1', 'nodes', None)}/{name}")
        except ApiError as error:
            if error.status == FORBIDDEN:
                return False
            raise
        if node is None:
            return True
        conditions = {item["type"]: item["status"] for item in node.get("status", {}).get("conditions", [])}
        return conditions.get("Ready") != "True"
