"""All that the operator watches, where it may, and which jobs are looked at when something changes."""

import asyncio
from collections.abc import Sequence
from typing import Any

from arcface_api.names import API_VERSION, PLURAL
from arcface_operator.controller.jobs import JobStore, WorkQueue
from arcface_operator.decision.observation import ObjectView, view_object, view_pod
from arcface_operator.kubernetes.cache import Cache
from arcface_operator.kubernetes.client import Api, JobRef
from arcface_operator.kubernetes.informer import OUR_OWN, Informer, Place, places
from arcface_operator.kubernetes.prerequisites import view_claim_and_class, view_node
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.workload import KUEUE_VERSION, view_workload

SECTIONS_WITH_CLAIMS = ("data", "checkpoint", "evaluation")


class Watches:
    """Informers of one replica."""

    def __init__(self, api: Api, jobs: JobStore, queue: WorkQueue, namespaces: Sequence[str]) -> None:
        where = places(namespaces)
        self.store = jobs
        self.queue = queue
        self.jobs = Informer(api, (API_VERSION, PLURAL), jobs.cache, where)
        self.pods = Informer(api, ("v1", "pods"), Cache(JobRef.of_child, view_pod, queue.wake), where, OUR_OWN)
        self.services, self.config_maps = (
            Informer(api, ("v1", plural), Cache(JobRef.of_child, view_object, queue.wake), where, OUR_OWN)
            for plural in ("services", "configmaps")
        )
        workloads = Cache(JobRef.of_child, view_workload, queue.wake)
        self.workloads = Informer(api, (KUEUE_VERSION, "workloads"), workloads, where, OUR_OWN)
        """Begun by who reads them: few clusters have any."""
        self.children: dict[str, Informer[JobRef, Any]] = {
            "Pod": self.pods,
            "Service": self.services,
            "ConfigMap": self.config_maps,
            "Workload": self.workloads,
        }
        """By kind."""
        claims = Cache(JobRef.of, view_claim_and_class, self._wake_those_with_claim)
        self.claims = Informer(api, ("v1", "persistentvolumeclaims"), claims, where)
        nodes = Cache(lambda node: str(node["metadata"]["name"]), view_node, lambda _: None)
        self.nodes = Informer(api, ("v1", "nodes"), nodes, places(()))

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to look."""
        for kind in (self.pods, self.services, self.config_maps, self.claims, self.nodes):
            kind.start(tasks)
        for place in self.jobs.reflectors:
            tasks.create_task(self._watch_jobs(place))

    @property
    def is_settled(self) -> bool:
        """Whether the pods of all namespaces that may be looked at are seen."""
        return self.pods.is_settled

    def objects(self, ref: JobRef) -> tuple[ObjectView, ...] | None:
        """Services and ConfigMaps of a job; None where not all of them are known."""
        if not (self.services.is_current(ref.namespace) and self.config_maps.is_current(ref.namespace)):
            return None
        return (*self.services.of(ref), *self.config_maps.of(ref))

    def upsert(self, item: Manifest) -> None:
        """Take in the answer to a write."""
        if (children := self.children.get(item["kind"])) is not None:
            children.upsert(item)

    def lacks(self, item: Manifest) -> bool:
        """Whether a child of a job is known not to be there."""
        children = self.children.get(item["kind"])
        return children is not None and children.lacks(item)

    async def _watch_jobs(self, place: Place) -> None:
        """Watch the jobs of a namespace once its pods are known: a job whose pods are not would seem to have lost them.

        All else is waited for only until it has been asked for.
        """
        await self.pods.reflectors[place].is_listed.wait()
        await self.nodes.reflectors[None].has_tried.wait()
        for kind in (self.services, self.config_maps, self.claims):
            await kind.reflectors[place].has_tried.wait()
        await self.jobs.reflectors[place].run()

    def _wake_those_with_claim(self, claim: JobRef) -> None:
        """Jobs may have waited for a claim."""
        for job in self.store.cache:
            if job["metadata"]["namespace"] == claim.namespace and claim.name in _claims_of(job["spec"]):
                self.queue.wake(JobRef.of(job))


def _claims_of(spec: Manifest) -> set[str]:
    """Names of the claims in a spec that may not have been read yet, nor be readable."""
    model, named = spec.get("model") or {}, (spec.get(section) for section in SECTIONS_WITH_CLAIMS)
    return {section.get("claimName", "") for section in (*named, model.get("initFrom")) if section}
