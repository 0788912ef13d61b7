"""Job `<job>-evaluate`: runs the verification sets on the newest checkpoint when the training is done."""

import hashlib

from arcface_api.errors import ExitCode, InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import EvaluationSpec
from arcface_operator.manifests.config_map import CONFIG_KEY
from arcface_operator.manifests.gang import KUEUE_QUEUE
from arcface_operator.manifests.metadata import Manifest, build_labels, build_metadata, evaluator_name
from arcface_operator.manifests.pod_parts import (
    CONFIG_MOUNT,
    TERMINATION_LOG,
    claim_volume,
    config_volume,
    container_basics,
    default_container,
    default_pod_spec,
    device_resources,
    pod_basics,
    read_only,
    shared_memory_volume,
    writable,
)
from arcface_operator.manifests.pod_template import with_template
from arcface_operator.manifests.run_config import CHECKPOINT_MOUNT, EVALUATION_MOUNT
from arcface_operator.settings import Settings

CONTAINER = "evaluator"
EVALUATION_HASH = "arcface.io/evaluation-hash"
"""Annotation that tells an evaluator of an older spec.evaluation."""
RETRIES = 2
NEVER_RETRIED = [int(ExitCode.INVALID_INPUT), int(ExitCode.DIVERGED)]


def build_evaluator_job(job: ArcFaceTrainingJob, evaluation: EvaluationSpec, settings: Settings) -> Manifest:
    """The evaluation of a job, as a Job of Kubernetes."""
    metadata = build_metadata(job, evaluator_name(job.metadata.name), "evaluator")
    metadata["annotations"] = {EVALUATION_HASH: evaluation_hash(job)}
    if job.spec.scheduling.gang == "kueue":
        metadata["labels"][KUEUE_QUEUE] = str(job.spec.scheduling.queue)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": RETRIES,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": NEVER_RETRIED},
                    },
                ]
            },
            "template": build_template(job, evaluation, settings),
        },
    }


def evaluation_hash(job: ArcFaceTrainingJob) -> str:
    """SHA-256 of what is evaluated and how."""
    evaluation = job.spec.evaluation
    return hashlib.sha256(b"" if evaluation is None else evaluation.to_json().encode()).hexdigest()


def build_template(job: ArcFaceTrainingJob, evaluation: EvaluationSpec, settings: Settings) -> Manifest:
    """Template of the evaluator's pod."""
    return with_template(
        {"spec": {**default_pod_spec(job, settings), "containers": [default_container(CONTAINER, job, settings)]}},
        evaluation.template,
        {
            "metadata": {"labels": build_labels(job, "evaluator")},
            "spec": {
                **pod_basics(job),
                "containers": [build_container(job, evaluation, settings)],
                "volumes": [
                    config_volume(job),
                    claim_volume("checkpoints", job.spec.checkpoint.claim_name),
                    claim_volume("evaluation", evaluation.claim_name),
                    shared_memory_volume(),
                ],
            },
        },
        "spec.evaluation.template",
    )


def build_container(job: ArcFaceTrainingJob, evaluation: EvaluationSpec, settings: Settings) -> Manifest:
    """The container that evaluates; on Ascend a rank for each device that is asked for, one by default."""
    ranks = evaluator_ranks(job, evaluation)
    return {
        "name": CONTAINER,
        **container_basics(job, settings),
        "command": ["arcface", "evaluate", "job"],
        "args": [
            *("--config", f"{CONFIG_MOUNT}/{CONFIG_KEY}", "--termination-log", TERMINATION_LOG),
            *(("--ranks", str(ranks)) if ranks > 1 else ()),
        ],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        **device_resources(job, evaluation.resources, ranks),
        "volumeMounts": [
            read_only("config", CONFIG_MOUNT),
            read_only("checkpoints", CHECKPOINT_MOUNT),
            read_only("evaluation", EVALUATION_MOUNT),
            writable("shared-memory", "/dev/shm"),  # noqa: S108 - a mount of the pod's own
        ],
    }


def evaluator_ranks(job: ArcFaceTrainingJob, evaluation: EvaluationSpec) -> int:
    """Devices that `evaluation.resources` asks for, each of which embeds a share of the images."""
    if job.spec.workers.accelerator != "ascend":
        return 1
    limits = (evaluation.resources.limits if evaluation.resources else None) or {}
    name = job.spec.workers.resource_name
    devices = str(limits.get(name, 1))
    if not devices.isdecimal() or int(devices) < 1:
        raise InvalidInput(f"spec.evaluation.resources.limits: {name}: {devices}; give a whole number of devices")
    return int(devices)
