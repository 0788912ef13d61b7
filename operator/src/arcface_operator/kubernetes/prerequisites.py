"""Reading what jobs need of their cluster: claims, nodes and the kinds of gang schedulers.

Claims and nodes are watched where the operator may. A claim that is not known to be bound is asked for, since its event
may be later than the job's; of nodes that are not watched nothing is known.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.observation import ClaimView, Prerequisites, view_claim
from arcface_operator.decision.prerequisites import claims_of
from arcface_operator.kubernetes.client import FORBIDDEN, Api, ApiError, JobRef, collection
from arcface_operator.kubernetes.informer import Informer
from arcface_operator.manifests.gang import POD_GROUP_VERSIONS
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.workload import KUEUE_VERSION


@dataclass(frozen=True)
class NodeView:
    """A node."""

    allocatable: Mapping[str, str]
    """Amounts that it offers to pods, by resource."""
    is_ready: bool
    """Whether its kubelet answers: else nobody will confirm that pods have left it."""


@dataclass(frozen=True)
class Claim:
    """A claim and the class that is to bind it."""

    view: ClaimView
    storage_class: str | None


def view_node(node: Manifest) -> NodeView:
    """A node as the API server returns it."""
    status = node.get("status", {})
    conditions = {item["type"]: item["status"] for item in status.get("conditions", [])}
    return NodeView(status.get("allocatable", {}), conditions.get("Ready") == "True")


def view_claim_and_class(claim: Manifest) -> Claim:
    """A claim as the API server returns it."""
    return Claim(view_claim(claim, waits_for_pod=False), claim.get("spec", {}).get("storageClassName"))


class PrerequisitesReader:
    """Looks at the cluster on behalf of jobs that wait."""

    def __init__(self, api: Api, claims: Informer[JobRef, Claim], nodes: Informer[str, NodeView]) -> None:
        self.api = api
        self.claims = claims
        """By namespace and name."""
        self.nodes = nodes

    async def read(self, job: ArcFaceTrainingJob) -> Prerequisites:
        """What this job needs, as it is now."""
        names = list(claims_of(job))
        claims, missing = await asyncio.gather(
            asyncio.gather(*(self._claim(job.metadata.namespace, name) for name in names)),
            self._missing_kinds(job),
        )
        found = dict(zip(names, claims, strict=True))
        return Prerequisites(claims=found, devices=self._devices(job), missing_kinds=missing)

    async def _claim(self, namespace: str, name: str) -> ClaimView | None:
        """A claim, and whether its class binds it only with a pod."""
        claim = await self._newest(namespace, name)
        if claim is None:
            return None
        if claim.view.phase != "Pending" or not claim.storage_class:
            return claim.view
        return replace(claim.view, waits_for_pod=await self._waits_for_pod(claim.storage_class))

    async def _newest(self, namespace: str, name: str) -> Claim | None:
        """A claim as it is known to be bound, or as the API server says."""
        known = next(iter(self.claims.of(JobRef(namespace, name))), None)
        if known is not None and known.view.phase == "Bound":
            return known
        found = await self.api.find(f"{collection('v1', 'persistentvolumeclaims', namespace)}/{name}")
        return None if found is None else view_claim_and_class(found)

    async def _waits_for_pod(self, storage_class: str) -> bool:
        """Whether a class binds claims only once a pod asks; in doubt, where classes are not ours to see, it does."""
        try:
            found = await self.api.find(f"{collection('storage.k8s.io/v1', 'storageclasses', None)}/{storage_class}")
        except ApiError as error:
            if error.status == FORBIDDEN:
                return True
            raise
        return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _devices(self, job: ArcFaceTrainingJob) -> tuple[int, ...] | None:
        """Devices of the job's resource on each node that has any; None where nothing is known of nodes."""
        if job.spec.workers.accelerator != "ascend":
            return ()
        if not self.nodes.is_known():
            return None
        counts = (node.allocatable.get(job.spec.workers.device_resource, "0") for node in self.nodes.cache)
        return tuple(int(count) for count in counts if count.isdigit() and count != "0")

    async def _missing_kinds(self, job: ArcFaceTrainingJob) -> tuple[str, ...]:
        """Kinds of the job's gang scheduler that the API server does not serve."""
        gang = job.spec.scheduling.gang
        needed, version = ("Workload", KUEUE_VERSION) if gang == "kueue" else ("PodGroup", POD_GROUP_VERSIONS.get(gang))
        if version is None:
            return ()
        served = await self.api.find(f"/apis/{version}")
        kinds = [] if served is None else [resource["kind"] for resource in served.get("resources", [])]
        return () if needed in kinds else (f"{needed} of {version}",)

    def lost(self, names: Iterable[str]) -> frozenset[str]:
        """Those of the nodes that are gone or do not answer; none where nothing is known of nodes.

        From a watch that broke to the next list the last one counts, but a node that it does not have may be new.
        """
        if not self.nodes.is_known():
            return frozenset()
        is_current, of = self.nodes.is_current(), self.nodes.of
        return frozenset(
            name for name in names if not any(node.is_ready for node in of(name)) and (is_current or of(name))
        )
