"""A cluster in plain values: views of it, tables of what follows from them, and a model of the API server.

A row of a table is an observation, its cells are what follows in each of the nine phases, written as words:

    Restarting                     the phase; without one Pending stands for an unborn or suspended job, else the same
    Ready=Ready  !Ready=Queued     a condition that holds or does not, and why
    +counted  +free  +resume       a new attempt: after a fault that counts or does not, or after a suspension
    failure:OOMKilled@1            the digest of the failure and its rank
    apply:… create:… delete:… force:… annotate:…   all actions, in this order; numbers are rank pods

An empty cell: nothing is done. `waiting` stands for the phases before all pods exist, `gang` for Starting and
Training, `ended` for Succeeded and Failed; a phase's own name overrides them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arcface_api.job import ArcFaceTrainingJob
from arcface_api.names import ASCEND_910
from arcface_api.reports import EvaluatorReport, TrainerReport
from arcface_api.status import (
    ArcFaceTrainingJobStatus,
    Condition,
    FailureStatus,
    PairResult,
    Progress,
    WorkersStatus,
)
from arcface_operator.cluster.observation import (
    ClaimView,
    Ended,
    EvaluatorView,
    Observation,
    PodView,
    Surroundings,
    view_evaluator,
    view_pod,
)
from arcface_operator.cluster.plan import Action, Annotate, Announce, Apply, Create, Delete, DeleteJob, Dissolve, Plan
from arcface_operator.cluster.rank_table import INITIALIZING
from arcface_operator.manifests.child import RANK_INDEX_LABEL, Manifest, evaluator_name, worker_name
from arcface_operator.manifests.evaluator_job import evaluation_hash
from arcface_operator.manifests.worker_pod import SCHEDULER_ANNOTATION
from arcface_operator.settings import Settings

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SETTINGS = Settings()
GRACE = timedelta(seconds=SETTINGS.termination_grace_seconds)
THE_JOBS = "of the job"
ASCEND = {"accelerator": "ascend", "devicesPerWorker": 2, "replicas": 2}


def ago(seconds: float) -> datetime:
    """A moment before NOW."""
    return NOW - timedelta(seconds=seconds)


def make_worker(index: int, attempt: int = 0, **fields: Any) -> PodView:
    """A rank pod of the job `quick` that runs and has been told where the others are."""
    default = {
        "name": worker_name("quick", index),
        "uid": f"worker-{index}-{attempt}",
        "component": "worker",
        "created": ago(60),
        "phase": "Running",
        "address": f"10.244.0.{index + 1}",
        "host_address": f"192.168.0.{index + 1}",
        "node": f"node-{index}",
        "is_ready": True,
        "annotations": {SCHEDULER_ANNOTATION: "10.244.0.1"},
    }
    return PodView(index=index, attempt=attempt, **{**default, **fields})


def make_ended(index: int, attempt: int = 0, code: int | None = 0, **fields: Any) -> PodView:
    """A rank pod whose main container has ended; `reason`, `message` and `at` are those of its end."""
    reason = fields.pop("reason", "Completed" if code == 0 else "Error")
    ended = Ended(code, reason, fields.pop("message", ""), fields.pop("at", ago(60)))
    phase = "Succeeded" if code == 0 else "Failed"
    return make_worker(index, attempt, **{"phase": phase, "is_ready": False, "ended": ended, **fields})


def make_evaluator_pod(code: int | None = 0, message: str = "", **fields: Any) -> PodView:
    """A pod of the evaluator that has ended, or runs where code is None."""
    ended = None if code is None else Ended(code, "Completed" if code == 0 else "Error", message, ago(60))
    phase = {None: "Running", 0: "Succeeded"}.get(code, "Failed")
    default = {"name": "quick-evaluate-x", "uid": "evaluator-pod", "owner": "evaluator", "created": ago(90)}
    default |= {"attempt": -1, "index": -1, "phase": phase, "ended": ended, "node": "node-0", "annotations": {}}
    return PodView(component="evaluator", **{**default, **fields})


def make_evaluator(**fields: Any) -> EvaluatorView:
    """The evaluator of a job's present spec.evaluation, for `observation_in`."""
    return EvaluatorView(**{"uid": "evaluator", "evaluation_hash": THE_JOBS, **fields})


def make_surroundings(
    devices: tuple[int, ...] = (8, 8), missing_kinds: tuple[str, ...] = (), **claims: ClaimView | None
) -> Surroundings:
    """Surroundings in which everything is there, but for what is given."""
    there = dict.fromkeys(("faces", "checkpoints", "sets"), ClaimView("Bound", ("ReadWriteMany",)))
    return Surroundings(claims={**there, **claims}, devices=devices, missing_kinds=missing_kinds)


def make_report(step: int, **fields: Any) -> TrainerReport:
    """What rank 0 serves after a step."""
    progress = {"epoch": 0, "step": step, "total_steps": 100, "loss": 2.5, "updated_at": ago(0)}
    return TrainerReport(progress=Progress(**{**progress, **fields}))


def evaluator_report(accuracy: float = 0.99, sets: tuple[str, ...] = ("lfw",)) -> str:
    """Termination message of an evaluator."""
    results = [PairResult(dataset=name, accuracy=accuracy, std=0.01, pairs=600) for name in sets]
    return EvaluatorReport(checkpoint="step-100", results=results).to_json()


def timestamp(moment: datetime) -> str:
    """Time as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def stored(status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """A status as it is read again after it was written: refused here where the API server would refuse it."""
    return ArcFaceTrainingJobStatus.from_json(status.to_json(), "status")


def worker_names(plan: Plan) -> list[str]:
    """Names of the rank pods that a plan creates."""
    pods = [item.manifest for item in plan.actions if isinstance(item, Create) and item.manifest["kind"] == "Pod"]
    return [pod["metadata"]["name"] for pod in pods]


GROUPS: dict[Any, str] = {
    **dict.fromkeys((None, "Suspended", "Pending", "Restarting"), "waiting"),
    **dict.fromkeys(("Starting", "Training"), "gang"),
    "Evaluating": "evaluating",
    **dict.fromkeys(("Succeeded", "Failed"), "ended"),
}
VERBS = {"apply", "create", "delete", "force", "annotate"}


def row(name: str, seen: Mapping[str, Any] | None = None, *, spec: Any = None, status: Any = None, **cells: str) -> Any:
    """One observation in all phases, as parameters of a test that ends in `assert_cell`.

    Args:
        name: the observation in words.
        seen: fields of the Observation that differ from what is there when all goes well; pods count their attempt
            from the job's.
        spec: fields of the job's spec.
        status: fields of its status.
        cells: what follows, by phase or group of phases.
    """
    params = []
    for phase, group in GROUPS.items():
        key = str(phase).lower()
        cell = cells.get(key, cells.get(group, "") + (" +resume" if phase == "Suspended" else ""))
        params.append(pytest.param(phase, seen or {}, spec or {}, status or {}, cell, id=f"{name} in {phase}"))
    return params


def status_in(phase: Any, **changes: Any) -> ArcFaceTrainingJobStatus:
    """The status of a job that has been restarted twice, once for a fault that counts."""
    if phase is None:
        return ArcFaceTrainingJobStatus()
    is_ended = phase in {"Succeeded", "Failed"}
    held = {"Ready": ago(4000)}
    if phase == "Training":
        held["Training"] = ago(3000)
    if is_ended:
        held["Complete" if phase == "Succeeded" else "Failed"] = ago(100)
    default = {
        "phase": phase,
        "conditions": [
            Condition(type=kind, status="True", reason="Test", message="", last_transition_time=since)
            for kind, since in sorted(held.items())
        ],
        "attempt": 2,
        "restarts": 2,
        "counted_restarts": 1,
        "start_time": None if phase == "Suspended" else ago(1000),
        "completion_time": ago(100) if is_ended else None,
        "workers": WorkersStatus(desired=2),
        "progress": make_report(7, updated_at=ago(50)).progress if phase == "Training" else None,
        "failure": FailureStatus(reason="Before", message="of an earlier attempt"),
    }
    return ArcFaceTrainingJobStatus(**{**default, **changes})


def observation_in(phase: Any, job: ArcFaceTrainingJob, seen: Mapping[str, Any]) -> Observation:
    """What is there in a phase when all goes well, but for what a row gives."""
    group = GROUPS[phase]
    gang = {"gang": make_worker, "evaluating": make_ended, "ended": make_ended}.get(group)
    default = {
        "pods": () if gang is None else (gang(0), gang(1)),
        "evaluator": make_evaluator() if phase == "Evaluating" else None,
        "surroundings": make_surroundings() if group == "waiting" else None,
    }
    fields = {**default, **seen}
    fields["pods"] = tuple(replace(pod, attempt=pod.attempt + job.status.attempt) for pod in fields["pods"])
    if fields["evaluator"] is not None and fields["evaluator"].evaluation_hash == THE_JOBS:
        fields["evaluator"] = replace(fields["evaluator"], evaluation_hash=evaluation_hash(job))
    return Observation(job=job, **fields)


def told(action: Action) -> str | None:
    """An action in the words of a cell; None for an event."""
    match action:
        case Apply(manifest):
            names = {"quick-config": "config", "rings-config-quick": "table"}
            name = names.get(manifest["metadata"]["name"], manifest["kind"].lower())
            is_empty = manifest.get("data", {}).get("hccl.json") == INITIALIZING
            return f"apply:{'no-' if is_empty else ''}{name}"
        case Create(manifest):
            return f"create:{manifest['metadata']['labels'].get(RANK_INDEX_LABEL, 'evaluator')}"
        case Delete(resource="pods"):
            return f"{'force' if action.is_forced else 'delete'}:{action.name[-1]}"
        case Delete():
            return "delete:evaluator"
        case Annotate():
            return f"annotate:{action.name[-1]}"
        case Dissolve():
            return "dissolve:group"
        case DeleteJob():
            return "delete:job"
    return None


def assert_cell(plan: Plan, cell: str, before: ArcFaceTrainingJobStatus) -> None:
    """The plan is what a cell says, and nothing else."""
    words, after = cell.split(), stored(plan.status)
    assert after == plan.status
    assert after.phase == phase_in(words, before.phase)
    verbs = [word.split(":") for word in words if word.split(":")[0] in VERBS]
    actions = [f"{verb}:{name}" for verb, names in verbs for name in names.split(",")]
    assert [text for action in plan.actions if (text := told(action))] == actions
    new = {"+counted": (1, 1, 1), "+free": (1, 1, 0), "+resume": (1, 0, 0)}
    added = next((counts for word, counts in new.items() if word in words), (0, 0, 0))
    assert added == tuple(new - old for new, old in zip(counters(after), counters(before), strict=True))
    truths = {
        item.type: f"{'' if item.status == 'True' else '!'}{item.type}={item.reason}" for item in after.conditions
    }
    assert {word for word in words if "=" in word} <= set(truths.values())
    failure = next((word.removeprefix("failure:") for word in words if word.startswith("failure:")), None)
    if failure is None and after.phase == "Failed" != before.phase:
        assert after.failure is not None
        assert f"Failed={after.failure.reason}" in words
    elif failure is None:
        assert after.failure == before.failure
    else:
        reason, _, rank = failure.partition("@")
        assert after.failure is not None
        assert (after.failure.reason, after.failure.rank) == (reason, int(rank) if rank else None)
    assert_tells_the_truth(after)
    events = [item for item in plan.actions if isinstance(item, Announce)]
    assert len(events) == ((after.phase, after.attempt) != (before.phase, before.attempt))
    assert all((event.type == "Warning") == (after.phase in {"Failed", "Restarting"}) for event in events)


def phase_in(words: list[str], before: Any) -> Any:
    """The phase that a cell names or means."""
    named = next((word for word in words if word in GROUPS or word == "same"), None)
    if named == "same":
        return before
    return named or ("Pending" if before in {None, "Suspended"} else before)


def counters(status: ArcFaceTrainingJobStatus) -> tuple[int, int, int]:
    """What never falls."""
    return status.attempt, status.restarts, status.counted_restarts


def assert_tells_the_truth(status: ArcFaceTrainingJobStatus) -> None:
    """No condition contradicts the phase."""
    held = {item.type for item in status.conditions if item.status == "True"}
    assert ("Training" in held) == (status.phase == "Training")
    assert ("Complete" in held) == (status.phase == "Succeeded")
    assert ("Failed" in held) == (status.phase == "Failed")
    assert (status.completion_time is not None) == (status.phase in {"Succeeded", "Failed"})


@dataclass(frozen=True, kw_only=True)
class World:
    """What the API server holds of one job, at one moment."""

    job: ArcFaceTrainingJob
    now: datetime = NOW
    pods: Mapping[str, Manifest] = field(default_factory=dict)
    """By name."""
    evaluator: Manifest | None = None
    applied: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)
    """Service, ConfigMaps and PodGroup by kind and name."""
    lost_nodes: frozenset[str] = frozenset()
    is_job_deleted: bool = False
    serial: int = 0
    """Uids given out."""

    @property
    def status(self) -> ArcFaceTrainingJobStatus:
        """Status of the job."""
        return self.job.status

    def observe(self, seen: "World | None" = None, report: TrainerReport | None = None) -> Observation:
        """What the operator sees: the job as it is, its children perhaps as they were in an earlier world."""
        seen = seen or self
        return Observation(
            job=self.job,
            pods=tuple(view_pod(pod) for pod in seen.pods.values()),
            evaluator=None if seen.evaluator is None else view_evaluator(seen.evaluator),
            surroundings=make_surroundings(),
            report=report,
            lost_nodes=self.lost_nodes,
        )

    # What the API server does on the operator's behalf.

    def written(self, status: ArcFaceTrainingJobStatus) -> "World":
        """The job with another status."""
        return replace(self, job=self.job.model_copy(update={"status": stored(status)}))

    def carried_out(self, plan: Plan, actions: Iterable[Action] | None = None) -> "World":
        """The plan's status and all its actions, or only some of them."""
        world = self.written(plan.status)
        for action in plan.actions if actions is None else actions:
            world = world.after(action)
        return world

    def after(self, action: Action) -> "World":
        """One action; one on an object that is gone, or is another by now, does nothing."""
        match action:
            case Apply(manifest):
                key = (manifest["kind"], manifest["metadata"]["name"])
                return replace(self, applied={**self.applied, key: manifest})
            case Create(manifest):
                return self.created(manifest)
            case Delete(resource="pods"):
                pod = self.pods.get(action.name)
                is_same = pod is not None and pod["metadata"]["uid"] == action.uid
                return self.pod_deleted(action.name, is_forced=action.is_forced) if is_same else self
            case Delete():
                is_same = self.evaluator is not None and self.evaluator["metadata"]["uid"] == action.uid
                return self.evaluator_deleted() if is_same else self
            case Annotate():
                pod = self.pods.get(action.name)
                if pod is None or pod["metadata"]["uid"] != action.uid:
                    return self
                known = pod["metadata"].get("annotations", {})
                return self.with_metadata(action.name, annotations={**known, **action.annotations})
            case DeleteJob():
                return replace(self, is_job_deleted=True, pods={}, evaluator=None, applied={})
        return self  # an event

    def created(self, manifest: Manifest) -> "World":
        """The object under a uid of its own; a name that is taken stays with the object that has it."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        identity = {"uid": f"{kind}-{self.serial}", "creationTimestamp": timestamp(self.now)}
        made = {**manifest, "metadata": {**manifest["metadata"], **identity}}
        if kind == "Job" and self.evaluator is None:
            return replace(self, evaluator=made, serial=self.serial + 1)
        if kind == "Pod" and name not in self.pods:
            pods = {**self.pods, name: {**made, "status": {"phase": "Pending"}}}
            return replace(self, pods=pods, serial=self.serial + 1)
        return self

    def pod_deleted(self, name: str, *, is_forced: bool = False) -> "World":
        """The pod leaves: at once where no kubelet has it, else when its kubelet says so."""
        pod = self.pods[name]
        if is_forced or "nodeName" not in pod["spec"]:
            return self.pod_gone(name)
        if "deletionTimestamp" in pod["metadata"]:
            return self
        return self.with_metadata(name, deletionTimestamp=timestamp(self.now + GRACE))

    def evaluator_deleted(self) -> "World":
        """The evaluator leaves with its pods."""
        if self.evaluator is None:
            return self
        metadata = {**self.evaluator["metadata"], "deletionTimestamp": timestamp(self.now)}
        world = replace(self, evaluator={**self.evaluator, "metadata": metadata})
        for name in [name for name in world.pods if name.startswith(evaluator_name(self.job.metadata.name))]:
            world = world.pod_deleted(name)
        return world

    def with_metadata(self, name: str, **fields: Any) -> "World":
        """A pod with other metadata."""
        pod = self.pods[name]
        return replace(self, pods={**self.pods, name: {**pod, "metadata": {**pod["metadata"], **fields}}})

    # What everybody else does.

    def later(self, seconds: float) -> "World":
        """Time passes."""
        return replace(self, now=self.now + timedelta(seconds=seconds))

    def with_spec(self, **changes: Any) -> "World":
        """The user changes the spec."""
        spec = self.job.spec.model_copy(update=changes)
        return replace(self, job=self.job.model_copy(update={"spec": spec}))

    def pod_gone(self, name: str) -> "World":
        """Nothing is left of a pod."""
        return replace(self, pods={key: pod for key, pod in self.pods.items() if key != name})

    def swept(self) -> "World":
        """All that leaves has left, but for pods on lost nodes."""
        world = self
        for name, pod in self.pods.items():
            if "deletionTimestamp" in pod["metadata"] and pod["spec"].get("nodeName") not in self.lost_nodes:
                world = world.pod_gone(name)
        if self.evaluator is not None and "deletionTimestamp" in self.evaluator["metadata"]:
            world = replace(world, evaluator=None)
        return world

    def with_pod_status(self, name: str, **status: Any) -> "World":
        """A kubelet says how a pod is."""
        pod = self.pods[name]
        return replace(self, pods={**self.pods, name: {**pod, "status": {**pod["status"], **status}}})

    def started(self, index: int, node: str = "") -> "World":
        """A rank pod runs on a node of its own, unless one is named, and its devices are known."""
        name, node = worker_name(self.job.metadata.name, index), node or f"node-{index}"
        pod = self.pods[name]
        world = replace(self, pods={**self.pods, name: {**pod, "spec": {**pod["spec"], "nodeName": node}}})
        annotations = {**pod["metadata"].get("annotations", {}), **self.devices_of(index)}
        world = world.with_metadata(name, annotations=annotations)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(self.now)}
        addresses = {"podIP": f"10.244.{self.serial}.{index + 1}", "hostIP": f"192.168.0.{index + 1}"}
        return world.with_pod_status(name, phase="Running", conditions=[ready], **addresses)

    def devices_of(self, index: int) -> dict[str, str]:
        """What the device plugin writes on a rank pod."""
        if self.job.spec.workers.accelerator == "cpu":
            return {}
        per_pod = self.job.spec.workers.devices_per_worker
        devices = [{"device_id": str(n), "device_ip": f"192.168.10{n}.{index + 1}"} for n in range(per_pod)]
        configuration = {"pod_name": "", "server_id": f"192.168.0.{index + 1}", "devices": devices}
        return {SETTINGS.device_annotation: json.dumps(configuration), ASCEND_910: "Ascend910-0"}

    def exited(self, name: str, code: int, message: str = "", container: str = "trainer") -> "World":
        """The main container of a pod ends."""
        reason = "Completed" if code == 0 else "Error"
        terminated = {"exitCode": code, "reason": reason, "message": message, "finishedAt": timestamp(self.now)}
        statuses = [{"name": container, "state": {"terminated": terminated}}]
        phase = "Succeeded" if code == 0 else "Failed"
        return self.with_pod_status(name, phase=phase, conditions=[], containerStatuses=statuses)

    def evicted(self, name: str) -> "World":
        """A kubelet evicts a pod before anything of it has run."""
        return self.with_pod_status(name, phase="Failed", reason="Evicted", message="low on memory", conditions=[])

    def evaluated(self, code: int, message: str) -> "World":
        """The evaluator's pod runs and ends, and the Job controller draws its conclusion."""
        if self.evaluator is None or "deletionTimestamp" in self.evaluator["metadata"]:
            return self
        owner = self.evaluator["metadata"]["uid"]
        name = f"{self.evaluator['metadata']['name']}-{self.serial}"
        template = self.evaluator["spec"]["template"]
        references = [{"kind": "Job", "name": self.evaluator["metadata"]["name"], "uid": owner, "controller": True}]
        metadata = {**template["metadata"], "name": name, "ownerReferences": references}
        world = self.created({"kind": "Pod", "metadata": metadata, "spec": {**template["spec"], "nodeName": "node-0"}})
        world = world.exited(name, code, message, container="evaluator")
        kind = {"type": "Complete" if code == 0 else "Failed", "status": "True"}
        condition = {**kind, "reason": "BackoffLimitExceeded", "message": "too many failures"}
        return replace(world, evaluator={**self.evaluator, "status": {"conditions": [condition]}})
