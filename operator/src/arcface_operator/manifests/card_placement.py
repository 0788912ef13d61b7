"""Where pods with cards go, by what Ascend's plugin for Volcano reads of a job.

It reads annotations of the PodGroup and never those of pods, and of the pods their labels and node selectors; several
releases let no job for A2 or A3 pass that has not the label ring-controller.atlas (mind-cluster, ascend-for-volcano:
`plugin/job.go`, `initByJobInfo`; `internal/npu`, `get910CardHandlerName`, `CheckJobForm`). Nobody has run it here yet.

Which jobs ask for super pods of Atlas A3, and how many pods share one, is told by the marks that Ascend's own operator
goes by (mind-cluster, ascend-operator: `ranktable/factory.go`, `utils/superpod.go`), in the places of our template: its
annotations and its node selector.
"""

import re

from arcface_api.contract import pod_environment as pods
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.pod_template import template_map
from arcface_operator.settings import Settings

SCHEDULE_POLICY = "huawei.com/schedule_policy"
MULTILEVEL = "multilevel"
POLICIES = {"chip2-node16-sp", "chip2-node8-sp", MULTILEVEL}
AFFINITY_CONFIG = "huawei.com/affinity-config"
BLOCK = "sp-block"
MACHINES = {"module-a3-16-super-pod", "module-a3-8-super-pod"}
MARKS = (SCHEDULE_POLICY, AFFINITY_CONFIG, BLOCK)


def placement_marks(template: Manifest | None) -> dict[str, str]:
    """The annotations of a template that the plugin looks for."""
    annotations = template_map(template, "metadata", "annotations")
    return {name: str(annotations[name]) for name in MARKS if name in annotations}


def rank_placement(job: ArcFaceTrainingJob, settings: Settings) -> Manifest:
    """What the ranks' template may change: clusters with several families of chips have jobs for each."""
    if job.spec.workers.accelerator != "ascend":
        return {}
    return {"metadata": {"labels": {pods.CHIP_FAMILY_LABEL: settings.chip_family}}}


def evaluator_placement(job: ArcFaceTrainingJob, devices: int, settings: Settings) -> Manifest:
    """What of the ranks' template the evaluator's pod goes by, too: its image is made for the chip of their nodes."""
    workers = job.spec.workers
    if workers.accelerator != "ascend":
        return {}
    family = template_map(workers.template, "metadata", "labels").get(pods.CHIP_FAMILY_LABEL, settings.chip_family)
    metadata: Manifest = {"labels": {pods.CHIP_FAMILY_LABEL: family}}
    if marks := evaluator_marks(job, devices):
        metadata["annotations"] = marks
    spec = template_map(workers.template, "spec")
    where = {name: spec[name] for name in ("nodeSelector", "tolerations") if name in spec}
    return {"metadata": metadata, **({"spec": where} if where else {})}


def evaluator_marks(job: ArcFaceTrainingJob, devices: int) -> dict[str, str]:
    """The annotations of the same: one pod is a block of its own, and levels of a network are for several pods."""
    policy = placement_marks(job.spec.workers.template).get(SCHEDULE_POLICY)
    if policy == MULTILEVEL:
        return {}
    marks = {} if policy is None else {SCHEDULE_POLICY: policy}
    return {**marks, BLOCK: str(devices)} if has_super_pods(job.spec) else marks


def has_super_pods(spec: ArcFaceTrainingJobSpec) -> bool:
    """Whether the job asks for super pods: a schedule policy, where there is one, decides alone."""
    annotations = template_map(spec.workers.template, "metadata", "annotations")
    if SCHEDULE_POLICY in annotations:
        return str(annotations[SCHEDULE_POLICY]) in POLICIES
    return BLOCK in annotations or spec.workers.accelerator_type in MACHINES


def pods_per_super_pod(spec: ArcFaceTrainingJobSpec) -> int:
    """Consecutive pods of one logical super pod; the whole job is one where nothing else is asked for."""
    annotations = template_map(spec.workers.template, "metadata", "annotations")
    if (block := _number(annotations.get(BLOCK))) is not None:
        return max(1, block // spec.workers.devices_per_worker)
    if annotations.get(SCHEDULE_POLICY) == MULTILEVEL:
        levels = re.findall(r"(?:^|,)level1=([0-9]+)(?=,|$)", str(annotations.get(AFFINITY_CONFIG, "")))
        return _number(levels[-1] if levels else None) or spec.workers.replicas
    return spec.workers.replicas


def _number(text: object) -> int | None:
    """A positive number; None where a text is none, which Ascend's operator takes for no block at all."""
    return int(str(text)) if re.fullmatch("0*[1-9][0-9]{0,8}", str(text)) else None
