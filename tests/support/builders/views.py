"""A job's children and prerequisites in plain values, as the operator sees them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from arcface_api.contract.pod_environment import COMPONENT_LABEL, SCHEDULER_ANNOTATION
from arcface_api.contract.reports import EvaluatorReport, TrainerReport
from arcface_api.resource.status import ArcFaceTrainingJobStatus, PairResult, Progress
from arcface_operator.decision.answers.action_failure import ActionFailure
from arcface_operator.decision.observation import ClaimView, Ended, PodView, Prerequisites
from arcface_operator.decision.plan import Create, Plan
from arcface_operator.manifests.metadata import worker_name
from arcface_operator.settings import Settings

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SETTINGS = Settings()
GRACE = timedelta(seconds=SETTINGS.termination_grace_seconds)
THE_JOBS = "0" * 64
"""Stands for the hash of the evaluation that the job asks for, in `observation_in`."""
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
    values = {**default, **fields}
    values.setdefault("scheduled_at", None if values["node"] is None else values["created"])
    return PodView(index=index, attempt=attempt, **values)


def make_ended(index: int, attempt: int = 0, code: int | None = 0, **fields: Any) -> PodView:
    """A rank pod whose main container has ended; `reason`, `message` and `at` are those of its end.

    One that ended well tells of the last step.
    """
    message = fields.pop("message", LAST_REPORT if code == 0 else "")
    reason = fields.pop("reason", "Completed" if code == 0 else "Error")
    ended = Ended(code, reason, message, fields.pop("at", ago(60)))
    phase = "Succeeded" if code == 0 else "Failed"
    return make_worker(index, attempt, **{"phase": phase, "is_ready": False, "ended": ended, **fields})


def make_evaluator(code: int | None = None, message: str = "", **fields: Any) -> PodView:
    """The evaluator's pod, which runs, or has ended with a code."""
    ended = None if code is None else Ended(code, "Completed" if code == 0 else "Error", message, ago(60))
    phase = {None: "Running", 0: "Succeeded"}.get(code, "Failed")
    default = {"name": "quick-evaluate", "uid": "evaluator", "component": "evaluator", "node": "node-0"}
    default |= {"phase": phase, "ended": ended, "is_ready": ended is None, "annotations": {}}
    return make_worker(0, **{**default, **fields})


def make_prerequisites(
    devices: tuple[int, ...] = (8, 8), missing_kinds: tuple[str, ...] = (), **claims: ClaimView | None
) -> Prerequisites:
    """Prerequisites in which everything is there, but for what is given."""
    there = dict.fromkeys(("faces", "checkpoints", "sets"), ClaimView("Bound", ("ReadWriteMany",)))
    return Prerequisites(claims={**there, **claims}, devices=devices, missing_kinds=missing_kinds)


def refused_action(message: str) -> ActionFailure:
    """What the API server would not have of what a gang needs."""
    return ActionFailure(condition="Ready", message=message, is_lasting=True)


def make_report(step: int, **fields: Any) -> TrainerReport:
    """What rank 0 serves after a step."""
    progress = {"epoch": 0, "step": step, "total_steps": 100, "loss": 2.5, "updated_at": ago(0)}
    return TrainerReport(progress=Progress(**{**progress, **fields}))


def evaluator_report(accuracy: float = 0.99, sets: tuple[str, ...] = ("lfw",)) -> str:
    """Termination message of an evaluator."""
    results = [PairResult(dataset=name, accuracy=accuracy, std=0.01, pairs=600) for name in sets]
    return EvaluatorReport(checkpoint="step-100", results=results).to_json()


LAST_REPORT = make_report(100).to_json()
"""Termination message of rank 0's pod after the last step."""


def timestamp(moment: datetime) -> str:
    """Time as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def stored(status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """A status as it is read again after it was written: refused here where the API server would refuse it."""
    return ArcFaceTrainingJobStatus.from_json(status.to_json(), "status")


def worker_names(plan: Plan) -> list[str]:
    """Names of the rank pods that a plan creates."""
    created = [item.manifest["metadata"] for item in plan.actions if isinstance(item, Create)]
    return [metadata["name"] for metadata in created if metadata["labels"][COMPONENT_LABEL] == "worker"]
