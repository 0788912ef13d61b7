"""Reading what Kueue says of jobs: Workloads, watched from the first job on that needs them; flavours, priorities."""

import asyncio
from collections.abc import Iterator, Mapping

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision import decide, stages
from arcface_operator.kubernetes.client import FORBIDDEN, Api, ApiError, JobRef, collection
from arcface_operator.kubernetes.informer import Informer
from arcface_operator.manifests import workload as kueue
from arcface_operator.manifests.metadata import Manifest

LIST_SECONDS = 5.0
"""For which a look waits until the Workloads have been seen for the first time."""


class _NotToBeHad(Exception):  # noqa: N818 - reads as what it says
    """An object is not there, or not ours to see."""


class QueueReader:
    """Looks at Kueue's objects on behalf of jobs that wait in its queues."""

    def __init__(self, api: Api, workloads: Informer[JobRef, kueue.WorkloadView]) -> None:
        self.api = api
        self.workloads = workloads
        self.is_wanted = asyncio.Event()
        """Set once a job asks for Kueue and the cluster has it: others would be asked in vain again and again."""

    async def run(self) -> None:
        """Watch the Workloads, from the moment at which somebody wants to know of them."""
        await self.is_wanted.wait()
        async with asyncio.TaskGroup() as tasks:
            self.workloads.start(tasks)

    async def read(self, job: ArcFaceTrainingJob) -> kueue.QueueView | None:
        """What Kueue says of a job; None where it does not go through Kueue, or its Workloads cannot be seen."""
        ref = JobRef(job.metadata.namespace, job.metadata.name)
        if job.spec.scheduling.gang != "kueue" or not await self._are_seen(ref.namespace):
            return None
        views = self.workloads.of(ref)
        workloads = {view.component: view for view in views if view.owner == job.metadata.uid}
        if job.status.phase not in decide.WAITING_PHASES and job.gang == job.spec.workers:
            return kueue.QueueView(workloads=workloads)
        own = workloads.get(stages.stage_of(job.status).component)
        try:
            if own is None:
                return kueue.QueueView(workloads=workloads, priority=await self._priority(job))
            return kueue.QueueView(workloads=workloads, placement=await self._placement(own) if own.may_run else None)
        except _NotToBeHad as error:
            return kueue.QueueView(workloads=workloads, problem=str(error))

    async def _are_seen(self, namespace: str) -> bool:
        """Whether the Workloads of a namespace are known."""
        if not self.is_wanted.is_set():
            if await self.api.find(f"/apis/{kueue.KUEUE_VERSION}") is None:
                return False
            self.is_wanted.set()
        try:
            async with asyncio.timeout(LIST_SECONDS):
                return await self.workloads.has_listed(namespace)
        except TimeoutError:
            return False

    async def _priority(self, job: ArcFaceTrainingJob) -> kueue.Priority | None:
        """The class by which Kueue is to order a job: its own kind's goes before that of the pods."""
        own, of_pods = job.metadata.labels.get(kueue.PRIORITY_LABEL), job.spec.scheduling.priority_class_name
        if own is not None:
            return await self._class(
                kueue.KUEUE_VERSION, "WorkloadPriorityClass", own, f"metadata.labels: {kueue.PRIORITY_LABEL}"
            )
        if of_pods is not None:
            field = "spec.scheduling.priorityClassName"
            return await self._class("scheduling.k8s.io/v1", "PriorityClass", of_pods, field)
        return None

    async def _class(self, version: str, kind: str, name: str, field: str) -> kueue.Priority:
        """A priority class by its name."""
        found = await self._get(version, kind, name, field)
        return kueue.Priority(group=version.partition("/")[0], kind=kind, name=name, value=found["value"])

    async def _placement(self, workload: kueue.WorkloadView) -> kueue.Placement:
        """What the flavours and the admission checks of a Workload ask of its pods."""
        assignment = workload.assignment or {}
        names = dict.fromkeys(assignment.get("flavors", {}).values())
        where = f"Workload {workload.name}"
        specs = [(await self._get(kueue.KUEUE_VERSION, "ResourceFlavor", name, where))["spec"] for name in names]
        if "topologyAssignment" in assignment:
            raise _NotToBeHad(f"{where}: its flavour has a topology, which is not supported; use one without")
        sources = [
            *({"nodeSelector": spec.get("nodeLabels"), "tolerations": spec.get("tolerations")} for spec in specs),
            *_updates(workload, str(assignment.get("name"))),
        ]
        return kueue.Placement(
            node_selector=_joined(sources, "nodeSelector"),
            tolerations=tuple(toleration for source in sources for toleration in source.get("tolerations") or ()),
            labels=_joined(sources, "labels"),
            annotations=_joined(sources, "annotations"),
        )

    async def _get(self, version: str, kind: str, name: str, where: str) -> Manifest:
        """An object of the whole cluster.

        Raises:
            _NotToBeHad: with a sentence for the job's user.
        """
        plural = f"{kind.lower()}s" if not kind.endswith("Class") else f"{kind.lower()}es"
        try:
            found = await self.api.find(f"{collection(version, plural, None)}/{name}")
        except ApiError as error:
            sentence = f"{where}: {kind} {name} cannot be read: {error.message}"
            if error.status == FORBIDDEN:
                sentence = f"{where}: the operator may not read {kind} {name}; give its role `get` on {plural}"
            raise _NotToBeHad(sentence) from None
        if found is None:
            raise _NotToBeHad(f"{where}: there is no {kind} {name!r}; create it")
        return found


def _updates(workload: kueue.WorkloadView, pod_set: str) -> Iterator[Manifest]:
    """What admission checks ask of the pods."""
    for check in workload.checks:
        yield from (update for update in check.get("podSetUpdates", []) if update.get("name") == pod_set)


def _joined(sources: list[Manifest], field: str) -> Mapping[str, str]:
    """A map of all sources; Kueue lets none contradict another."""
    return {key: value for source in sources for key, value in (source.get(field) or {}).items()}
