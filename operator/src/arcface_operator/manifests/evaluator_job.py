"""Job `<job>-evaluate`: runs the verification sets on the newest checkpoint when the training is done."""

import hashlib

from arcface_api.contract import pod_environment as pods
from arcface_api.errors import NEVER_RETRIED, InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import EvaluationSpec
from arcface_operator.manifests import gang, pod_parts
from arcface_operator.manifests.metadata import Manifest, build_labels, build_metadata, evaluator_name
from arcface_operator.manifests.pod_template import with_template
from arcface_operator.settings import Settings

CONTAINER = "evaluator"
RETRIES = 2


def build_evaluator_job(job: ArcFaceTrainingJob, evaluation: EvaluationSpec, settings: Settings) -> Manifest:
    """The evaluation of a job, as a Job of Kubernetes."""
    metadata = build_metadata(job, evaluator_name(job.metadata.name), "evaluator")
    metadata["annotations"] = {pods.EVALUATION_HASH_ANNOTATION: evaluation_hash(job)}
    if job.spec.scheduling.gang == "kueue":
        metadata["labels"][gang.KUEUE_QUEUE] = str(job.spec.scheduling.queue)
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
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": sorted(map(int, NEVER_RETRIED)),
                        },
                    },
                ]
            },
            "template": _build_template(job, evaluation, settings),
        },
    }


def evaluation_hash(job: ArcFaceTrainingJob) -> str:
    """SHA-256 of what is evaluated and how."""
    evaluation = job.spec.evaluation
    return hashlib.sha256(b"" if evaluation is None else evaluation.to_json().encode()).hexdigest()


def _build_template(job: ArcFaceTrainingJob, evaluation: EvaluationSpec, settings: Settings) -> Manifest:
    """Template of the evaluator's pod."""
    scheduler = gang.gang_scheduler(job, settings)
    return with_template(
        pod_parts.default_template(CONTAINER, job, settings),
        evaluation.template,
        {
            "metadata": {"labels": build_labels(job, "evaluator"), **gang.lone_pod_metadata(job, settings)},
            "spec": {
                **pod_parts.pod_basics(job),
                **({} if scheduler is None else {"schedulerName": scheduler}),
                "containers": [_build_container(job, evaluation, settings)],
                "volumes": [
                    pod_parts.config_volume(job),
                    pod_parts.claim_volume("checkpoints", job.spec.checkpoint.claim_name),
                    pod_parts.claim_volume("evaluation", evaluation.claim_name),
                    pod_parts.shared_memory_volume(),
                ],
            },
        },
        "spec.evaluation.template",
    )


def _build_container(job: ArcFaceTrainingJob, evaluation: EvaluationSpec, settings: Settings) -> Manifest:
    """The container that evaluates; on Ascend a rank for each device that is asked for, one by default."""
    ranks = _evaluator_ranks(job, evaluation)
    return {
        "name": CONTAINER,
        **pod_parts.container_basics(job, settings),
        "command": ["arcface", "evaluate", "job"],
        "args": [
            *("--config", pods.RUN_CONFIG, "--termination-log", pods.TERMINATION_LOG),
            *(("--ranks", str(ranks)) if ranks > 1 else ()),
        ],
        "env": pod_parts.own_name_and_address(),
        **pod_parts.device_resources(job, evaluation.resources, ranks),
        "volumeMounts": [
            pod_parts.read_only("config", pods.RUN_CONFIG_MOUNT),
            pod_parts.read_only("checkpoints", pods.CHECKPOINT_MOUNT),
            pod_parts.read_only("evaluation", pods.EVALUATION_MOUNT),
            pod_parts.writable("shared-memory", pods.SHARED_MEMORY_MOUNT),
        ],
    }


def _evaluator_ranks(job: ArcFaceTrainingJob, evaluation: EvaluationSpec) -> int:
    """Devices that `evaluation.resources` asks for, each of which embeds a share of the images."""
    if job.spec.workers.accelerator != "ascend":
        return 1
    limits = (evaluation.resources.limits if evaluation.resources else None) or {}
    name = job.spec.workers.resource_name
    devices = str(limits.get(name, 1))
    if not devices.isdecimal() or int(devices) < 1:
        raise InvalidInput(f"spec.evaluation.resources.limits: {name}: {devices}; give a whole number of devices")
    return int(devices)
