"""The two stages of a job, each a gang of pods: it trains, then it evaluates; every other rule is one for both."""

from collections.abc import Callable
from dataclasses import dataclass

from arcface_api.contract.reports import EvaluatorReport, TrainerReport
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_api.resource.status import ArcFaceTrainingJobStatus, ConditionType, Phase
from arcface_operator.manifests import evaluator_pod, metadata, worker_pod
from arcface_operator.manifests.gang import Gang
from arcface_operator.settings import Settings

PodBuilder = Callable[[ArcFaceTrainingJob, int, int, Settings], metadata.Manifest]
"""A pod by its index and attempt."""
TRAINED = "Trained"
"""Reason of the condition Training once every rank has ended well; all that earlier releases say of it."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A gang of pods that works on one part of a job."""

    component: str
    """Label of its pods."""
    container: str
    """By which they are judged; sidecars may live on."""
    work: str
    """What it is called in messages."""
    at_work: Phase
    """The phase in which it works."""
    condition: ConditionType
    """What it is to make true."""
    report: type[TrainerReport] | type[EvaluatorReport]
    """What its first pod serves at /progress, and leaves at its end."""
    pods: Callable[[ArcFaceTrainingJob], int]
    """Of the present attempt."""
    ranks_per_pod: Callable[[ArcFaceTrainingJobSpec], int]
    pod_name: Callable[[str, int], str]
    """Of a job's pod, by its index."""
    group_name: Callable[[str], str]
    """Of a job's gang, with its scheduler."""
    gang: Callable[[ArcFaceTrainingJob], Gang]
    build_pod: PodBuilder


TRAINING = Stage(
    component="worker",
    container=worker_pod.CONTAINER,
    work="training",
    at_work="Training",
    condition="Training",
    report=TrainerReport,
    pods=lambda job: job.gang.replicas,
    ranks_per_pod=lambda spec: spec.workers.devices_per_worker,
    pod_name=metadata.worker_name,
    group_name=lambda job: job,
    gang=worker_pod.training_gang,
    build_pod=worker_pod.build_worker_pod,
)
EVALUATION = Stage(
    component="evaluator",
    container=evaluator_pod.CONTAINER,
    work="evaluation",
    at_work="Evaluating",
    condition="Evaluated",
    report=EvaluatorReport,
    pods=lambda _: 1,
    ranks_per_pod=lambda _: 1,
    pod_name=lambda job, _: metadata.evaluator_name(job),
    group_name=metadata.evaluator_name,
    gang=evaluator_pod.evaluation_gang,
    build_pod=lambda job, _, attempt, settings: evaluator_pod.build_evaluator_pod(job, attempt, settings),
)
STAGES = (TRAINING, EVALUATION)


def stage_of(status: ArcFaceTrainingJobStatus) -> Stage:
    """The stage that a job is in, or was in when it ended."""
    return EVALUATION if is_trained(status) else TRAINING


def is_trained(status: ArcFaceTrainingJobStatus) -> bool:
    """Whether the training is done."""
    return status.training_completion_time is not None or any(
        item.type == "Training" and item.reason == TRAINED for item in status.conditions
    )
