"""Pod `<job>-evaluate`: runs the verification sets on the newest checkpoint when the training is done."""

from arcface_api.contract import pod_environment as pods
from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import EvaluationSpec
from arcface_operator.manifests import card_placement, claim_access, pod_parts, pod_template
from arcface_operator.manifests.gang import Gang, build_pod_metadata
from arcface_operator.manifests.metadata import Manifest, evaluator_name
from arcface_operator.settings import Settings

CONTAINER = "evaluator"


def evaluation_gang(job: ArcFaceTrainingJob) -> Gang:
    """The evaluator of a job that has one: a gang of one pod."""
    evaluation = _evaluation_of(job)
    ranks = _evaluator_ranks(job, evaluation)
    marks = card_placement.evaluator_marks(job, ranks) | card_placement.placement_marks(evaluation.template)
    return Gang(component="evaluator", name=evaluator_name(job.metadata.name), pods=1, devices=ranks, marks=marks)


def build_evaluator_pod(job: ArcFaceTrainingJob, attempt: int, settings: Settings) -> Manifest:
    """The pod that evaluates, of a job that asks for it."""
    evaluation, gang = _evaluation_of(job), evaluation_gang(job)
    placement = card_placement.evaluator_placement(job, gang.devices, settings)
    template = pod_template.with_template(
        pod_template.merged(pod_parts.default_template(CONTAINER, job, settings), placement, "spec.workers.template"),
        evaluation.template,
        {
            "metadata": build_pod_metadata(job, gang, gang.name, 0, attempt),
            "spec": {
                **pod_parts.pod_basics(job, gang, settings),
                "containers": [_build_container(job, evaluation, attempt, settings)],
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
    return {"apiVersion": "v1", "kind": "Pod", **claim_access.with_read_claims(template)}


def build_trial(job: ArcFaceTrainingJob, settings: Settings) -> Manifest:
    """The evaluator's pod as a mere template, which no quota, queue or scheduler has a say in."""
    pod = build_evaluator_pod(job, 0, settings)
    metadata = {key: pod["metadata"][key] for key in ("name", "namespace", "labels")}
    inner = {key: value for key, value in pod["metadata"].items() if key in {"labels", "annotations"}}
    return {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": metadata,
        "template": {"metadata": inner, "spec": pod["spec"]},
    }


def _evaluation_of(job: ArcFaceTrainingJob) -> EvaluationSpec:
    """What is to be evaluated.

    Raises:
        InvalidInput: where nothing is.
    """
    if job.spec.evaluation is None:
        raise InvalidInput("spec.evaluation: is absent; there is nothing to evaluate")
    return job.spec.evaluation


def _build_container(job: ArcFaceTrainingJob, evaluation: EvaluationSpec, attempt: int, settings: Settings) -> Manifest:
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
        "env": [*pod_parts.own_name_and_address(), *pod_parts.own_origin(job, attempt)],
        **pod_parts.device_resources(job, evaluation.resources, ranks),
        "volumeMounts": [
            pod_parts.read_only("config", pods.RUN_CONFIG_MOUNT),
            pod_parts.writable("checkpoints", pods.CHECKPOINT_MOUNT),
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
