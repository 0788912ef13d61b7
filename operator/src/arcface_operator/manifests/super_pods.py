"""Super pods of Atlas A3: which jobs ask for them, and how many pods share one.

By the marks that Ascend's own operator goes by (mind-cluster, ascend-operator: `ranktable/factory.go`,
`utils/superpod.go`), in the places of our template: its annotations and its node selector.
"""

import re

from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.manifests.pod_template import template_map

SCHEDULE_POLICY = "huawei.com/schedule_policy"
MULTILEVEL = "multilevel"
POLICIES = {"chip2-node16-sp", "chip2-node8-sp", MULTILEVEL}
AFFINITY_CONFIG = "huawei.com/affinity-config"
BLOCK = "sp-block"
MACHINES = {"module-a3-16-super-pod", "module-a3-8-super-pod"}


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
