"""Super pods of Atlas A3: which jobs ask for them, and how many pods share one.

By the marks that Ascend's own operator goes by (mind-cluster, ascend-operator: `ranktable/factory.go`,
`utils/superpod.go`), in the places of our template: its annotations and its node selector.
"""

import re

from arcface_api.resource.spec import ArcFaceTrainingJobSpec

SCHEDULE_POLICY = "huawei.com/schedule_policy"
MULTILEVEL = "multilevel"
POLICIES = {"chip2-node16-sp", "chip2-node8-sp", MULTILEVEL}
AFFINITY_CONFIG = "huawei.com/affinity-config"
BLOCK = "sp-block"
MACHINES = {"module-a3-16-super-pod", "module-a3-8-super-pod"}


def has_super_pods(spec: ArcFaceTrainingJobSpec) -> bool:
    """Whether the job asks for super pods: a schedule policy, where there is one, decides alone."""
    annotations = _part(spec, "metadata", "annotations")
    if SCHEDULE_POLICY in annotations:
        return str(annotations[SCHEDULE_POLICY]) in POLICIES
    return BLOCK in annotations or spec.workers.accelerator_type in MACHINES


def pods_per_super_pod(spec: ArcFaceTrainingJobSpec) -> int:
    """Consecutive pods of one logical super pod; the whole job is one where nothing else is asked for."""
    annotations = _part(spec, "metadata", "annotations")
    if (block := _number(annotations.get(BLOCK))) is not None:
        return max(1, block // spec.workers.devices_per_worker)
    if annotations.get(SCHEDULE_POLICY) == MULTILEVEL:
        levels = re.findall(r"(?:^|,)level1=([0-9]+)(?=,|$)", str(annotations.get(AFFINITY_CONFIG, "")))
        return _number(levels[-1] if levels else None) or spec.workers.replicas
    return spec.workers.replicas


def _part(spec: ArcFaceTrainingJobSpec, *path: str) -> dict[str, object]:
    """A map in the user's template, which may be anything until it is merged."""
    found: object = spec.workers.template
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _number(text: object) -> int | None:
    """A positive number; None where a text is none, which Ascend's operator takes for no block at all."""
    return int(str(text)) if re.fullmatch("0*[1-9][0-9]{0,8}", str(text)) else None
