"""What the operator sees: its children's manifests reduced to the facts that decisions are made on."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from typing import Any

from arcface_api.contract import launcher_words, pod_environment
from arcface_api.contract.reports import EvaluatorReport, TrainerReport
from arcface_api.names import KIND
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.answers.action_failure import CREATION, ActionFailure
from arcface_operator.decision.answers.sighting import Sighting
from arcface_operator.decision.fault_table.device_faults import DeviceFault
from arcface_operator.decision.fault_table.table import DISRUPTIONS, INCURABLE, INIT_FAILED, POD_FAILED
from arcface_operator.decision.stages import STAGES
from arcface_operator.manifests.metadata import Manifest, source_of
from arcface_operator.manifests.workload import QueueView

NO_ATTEMPT = -1
"""Of pods that wait for room, and of those whose label somebody has removed or changed."""
UNSCHEDULABLE = "Unschedulable"
"""Schedulers' word for a pod that they have looked at and found no node for."""
MAIN_CONTAINERS = {stage.component: stage.container for stage in STAGES}


@dataclass(frozen=True)
class Ended:
    """How a pod's main container, or the pod without it, came to its end."""

    exit_code: int | None
    """None where no process of ours ended: the pod was refused, evicted or lost."""
    reason: str
    """Kubernetes' word: Completed, Error, OOMKilled, Evicted, NodeLost and so on."""
    message: str
    """Termination message or, without a process, the pod's message."""
    at: datetime | None
    """When."""


@dataclass(frozen=True, kw_only=True)
class PodView:
    """One pod."""

    name: str
    uid: str
    component: str
    attempt: int
    index: int
    created: datetime
    owner: str | None = None
    """Uid of its controller."""
    owner_job: str | None = None
    """Name of its controller, where that is a job."""
    phase: str = "Pending"
    reason: str | None = None
    """The cluster's word for what it did to the pod, such as Evicted or PreemptionByScheduler."""
    address: str | None = None
    host_address: str | None = None
    node: str | None = None
    is_ready: bool = False
    scheduled_at: datetime | None = None
    """When it was given its node."""
    leaves_at: datetime | None = None
    """While it is being deleted: the end of its grace period."""
    grace_seconds: int | None = None
    """While it is being deleted: how long that is."""
    finalizers: tuple[str, ...] = ()
    """Who must let go of it before it is gone."""
    waiting: str | None = None
    """Why its container does not run, as `Reason: message`."""
    is_disrupted: bool = False
    """Ended by the cluster rather than by itself."""
    ended: Ended | None = None
    annotations: Mapping[str, str]

    @property
    def is_leaving(self) -> bool:
        """Whether it is being deleted."""
        return self.leaves_at is not None

    @property
    def goes_on(self) -> bool:
        """Whether it runs, and nobody takes it away."""
        return self.is_running and not (self.is_leaving or self.is_disrupted)

    @property
    def is_running(self) -> bool:
        """Whether its main container runs: a pod is called Pending until it has, and sidecars' readiness is theirs."""
        return self.phase == "Running" and self.ended is None

    @property
    def waits_for_room(self) -> bool:
        """Whether it has no node; from then on it holds its devices."""
        return self.node is None and self.ended is None

    @property
    def is_without_room(self) -> bool:
        """Whether its scheduler says that there is no node for it."""
        return self.waits_for_room and (self.waiting or "").split(":")[0] == UNSCHEDULABLE

    @property
    def stuck_for(self) -> str | None:
        """The kubelet's word for why it can never start; None where time may help."""
        reason = (self.waiting or "").split(":")[0]
        return reason if reason in INCURABLE else None

    @property
    def has_left_its_node(self) -> bool:
        """Whether nothing of it runs any more; until then it holds its devices."""
        return self.phase in {"Succeeded", "Failed"}


@dataclass(frozen=True)
class ClaimView:
    """A PersistentVolumeClaim."""

    phase: str
    access_modes: tuple[str, ...]
    waits_for_pod: bool = False
    """Bound only once a pod asks for it."""


@dataclass(frozen=True)
class ObjectView:
    """A Service or a ConfigMap of a job."""

    name: str
    owner: str | None
    """Uid of its controller."""
    source: str | None
    """What its content was made of; empty where an older release has written it, None where somebody has changed it."""


@dataclass(frozen=True, kw_only=True)
class Prerequisites:
    """What a job needs of its cluster before anything is taken."""

    claims: Mapping[str, ClaimView | None]
    """By name; None where there is none."""
    devices: tuple[int, ...] | None
    """Devices of the job's resource on each node that has any; None where the operator may not look at nodes."""
    missing_kinds: tuple[str, ...] = ()
    """Kinds of the gang scheduler that the API server does not serve."""


@dataclass(frozen=True)
class HeardWords:
    """What the launchers of an attempt's pods have said."""

    gang: launcher_words.GangWord
    at: datetime
    """When it was heard."""
    answered_at: datetime | None = None
    """When an answer has last said so; None for when it was heard."""

    @property
    def last_at(self) -> datetime:
        """The moment whose state they tell."""
        return self.answered_at or self.at


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One job and everything about it at one moment."""

    job: ArcFaceTrainingJob
    pods: tuple[PodView, ...] = ()
    prerequisites: Prerequisites | None = None
    """Looked at only while the job waits for them."""
    report: TrainerReport | EvaluatorReport | None = None
    """What the first pod has just served, of the present attempt for certain or, from earlier releases, most likely."""
    sighting: Sighting | None = None
    """How it has just gone to ask the first pod; None where no question came to anything since the last look."""
    words: HeardWords | None = None
    """What the launchers of the present attempt have said; None where they have not been heard."""
    queue: QueueView | None = None
    """What Kueue says; None where the job is not in a queue of it, or its Workloads have not been seen yet."""
    groups: Mapping[str, tuple[str, ...]] | None = None
    """The job's groups that the gang scheduler has, each with its finalizers; looked at only where they should go, or
    a gang in the queue hangs on its own."""
    stuck_since: Mapping[str, datetime] = field(default_factory=dict)
    """Since when pods, by uid, have been seen to say that they can never start."""
    watched_since: datetime | None = None
    """Since when this replica asks the first pod: a job that nobody asked may have made steps that nobody heard of."""
    lost_nodes: frozenset[str] = frozenset()
    """Nodes that are gone or do not answer, of those with pods that should have left."""
    failures: tuple[ActionFailure, ...] = ()
    """Actions that came to nothing when they were last tried."""
    unread: tuple[ActionFailure, ...] = ()
    """Parts of this observation that the API server does not show: they are as if nothing was known of them."""
    are_pods_unseen: bool = False
    """Whether the pods are among what is unread: nothing can be decided then."""
    earlier: tuple[PodView, ...] = ()
    """Pods under the job's label that belong to another object, such as an earlier job of this name."""
    device_faults: Mapping[str, tuple[DeviceFault, ...]] = field(default_factory=dict)
    """Faults of cards by node, of nodes with pods of a gang that is about to be blamed."""
    cards_unread_since: datetime | None = None
    """Since when an error has kept faults of some of these nodes from us; None where none does."""
    objects: tuple[ObjectView, ...] | None = None
    """Services and ConfigMaps of the job; None where not all of them can be seen."""

    @property
    def refusal(self) -> ActionFailure | None:
        """What the API server did not take of what a gang needs."""
        return next((item for item in self.failures if item.family == CREATION), None)

    @cached_property
    def gangs(self) -> Mapping[tuple[str, int], tuple[PodView, ...]]:
        """Pods by component and attempt, in the order of their ranks: a large gang is sorted once for all rules."""
        pods = sorted(self.pods, key=lambda pod: (*_gang(pod), pod.index))
        return {gang: tuple(found) for gang, found in groupby(pods, _gang)}

    def written(self, name: str) -> str | None:
        """What an object of the job was made of; None where it is not there as it was written, or cannot be seen."""
        own = (item for item in self.objects or () if item.owner == self.job.metadata.uid)
        return next((item.source for item in own if item.name == name), None)


def view_pod(pod: Manifest) -> PodView:
    """A pod of ours as the API server returns it."""
    metadata, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    labels = metadata.get("labels", {})
    conditions = {item["type"]: item for item in status.get("conditions", [])}
    component = labels.get(pod_environment.COMPONENT_LABEL, "")
    scheduled, created = conditions.get("PodScheduled", {}), datetime.fromisoformat(metadata["creationTimestamp"])
    node, disruption = spec.get("nodeName"), conditions.get("DisruptionTarget", {})
    is_disrupted = disruption.get("status") == "True"
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        component=component,
        attempt=_number(labels, pod_environment.ATTEMPT_LABEL),
        index=_number(labels, pod_environment.RANK_INDEX_LABEL),
        created=created,
        owner=controller_of(metadata),
        owner_job=job_of(metadata),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason") or (disruption.get("reason") if is_disrupted else None),
        address=status.get("podIP"),
        host_address=status.get("hostIP"),
        node=node,
        is_ready=conditions.get("Ready", {}).get("status") == "True",
        scheduled_at=None if node is None else parse_time(scheduled.get("lastTransitionTime")) or created,
        leaves_at=parse_time(metadata.get("deletionTimestamp")),
        grace_seconds=metadata.get("deletionGracePeriodSeconds"),
        finalizers=tuple(metadata.get("finalizers", [])),
        waiting=_waiting_reason(status, scheduled),
        is_disrupted=is_disrupted or status.get("reason") in DISRUPTIONS,
        ended=_pod_end(status, MAIN_CONTAINERS.get(component, "")),
        annotations=metadata.get("annotations", {}),
    )


def stuck_since(pods: Iterable[PodView], known: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    """Since when each of the pods says that it can never start: a kubelet gives no time, and may say so in passing."""
    return {pod.uid: known.get(pod.uid, now) for pod in pods if pod.stuck_for is not None}


def view_object(item: Manifest) -> ObjectView:
    """A Service or a ConfigMap of ours as the API server returns it."""
    return ObjectView(item["metadata"]["name"], controller_of(item["metadata"]), source_of(item))


def controller_of(metadata: Mapping[str, Any]) -> str | None:
    """Uid of the object that an object belongs to."""
    return next((item["uid"] for item in metadata.get("ownerReferences", []) if item.get("controller")), None)


def job_of(metadata: Mapping[str, Any]) -> str | None:
    """Name of the job that an object belongs to."""
    owners = (item for item in metadata.get("ownerReferences", []) if item.get("controller"))
    return next((item["name"] for item in owners if item.get("kind") == KIND), None)


def _number(labels: Mapping[str, str], name: str) -> int:
    """Number in a label; another one than any pod of a gang has where the label is not there or holds none."""
    text = labels.get(name, "")
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else NO_ATTEMPT


def parse_time(text: str | None) -> datetime | None:
    """Time of a field such as `deletionTimestamp`; None where the field is absent."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _waiting_reason(status: Mapping[str, Any], scheduled: Mapping[str, Any]) -> str | None:
    """Why a pod does not run yet."""
    if scheduled.get("status") == "False":
        return _words(scheduled, "Unscheduled")
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if waiting := container.get("state", {}).get("waiting"):
            return _words(waiting, "Waiting")
    return None


def _words(state: Mapping[str, Any], default: str) -> str:
    """Reason and message of a condition or state, as far as it has them."""
    return f"{state.get('reason') or default}: {state.get('message', '')}".rstrip(": ")


def _pod_end(status: Mapping[str, Any], main: str) -> Ended | None:
    """How the pod ended, judged by its main container."""
    for container in status.get("containerStatuses", []):
        terminated = container.get("state", {}).get("terminated")
        if container.get("name") == main and terminated is not None:
            return Ended(
                exit_code=terminated["exitCode"],
                reason=terminated.get("reason", ""),
                message=terminated.get("message", ""),
                at=parse_time(terminated.get("finishedAt")),
            )
    if status.get("phase") != "Failed":
        return None
    if reason := status.get("reason"):
        return Ended(None, reason, status.get("message", ""), None)
    return _init_end(status) or Ended(None, POD_FAILED, status.get("message", ""), None)


def _init_end(status: Mapping[str, Any]) -> Ended | None:
    """How an init container ended its pod; its exit codes are the user's, not ours."""
    for container in status.get("initContainerStatuses", []):
        terminated = container.get("state", {}).get("terminated") or {}
        if code := terminated.get("exitCode"):
            message = f"container {container.get('name')} ended with exit code {code}\n{terminated.get('message', '')}"
            return Ended(None, INIT_FAILED, message, parse_time(terminated.get("finishedAt")))
    return None


def view_claim(claim: Manifest, waits_for_pod: bool) -> ClaimView:  # noqa: FBT001 - a fact beside the manifest
    """A claim as the API server returns it."""
    modes = claim.get("status", {}).get("accessModes") or claim.get("spec", {}).get("accessModes", [])
    return ClaimView(claim.get("status", {}).get("phase", "Pending"), tuple(modes), waits_for_pod)


def _gang(pod: PodView) -> tuple[str, int]:
    """Which gang a pod is of."""
    return pod.component, pod.attempt
