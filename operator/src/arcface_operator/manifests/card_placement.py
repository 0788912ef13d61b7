"""Where pods with cards go, by what Ascend's plugin for Volcano reads of a job.

It reads annotations of the PodGroup and never those of pods, and of the pods their labels and node selectors; several
releases let no job for A2 or A3 pass that has not the label ring-controller.atlas (mind-cluster, ascend-for-volcano:
`plugin/job.go`, `initByJobInfo`; `internal/npu`, `get910CardHandlerName`, `CheckJobForm`). Nobody has run it here yet.
"""

from arcface_api.contract import pod_environment as pods
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.metadata import Manifest
from arcface_operator.manifests.pod_template import template_map
from arcface_operator.manifests.super_pods import AFFINITY_CONFIG, BLOCK, MULTILEVEL, SCHEDULE_POLICY, has_super_pods
from arcface_operator.settings import Settings

MARKS = (SCHEDULE_POLICY, AFFINITY_CONFIG, BLOCK)


def placement_marks(template: Manifest | None) -> dict[str, str]:
    """The annotations of a template that the plugin looks for."""
    annotations = template_map(template, "metadata", "annotations")
    return {name: str(annotations[name]) for name in MARKS if name in annotations}


def family_label(job: ArcFaceTrainingJob, settings: Settings) -> dict[str, str]:
    """The label of a pod that asks for cards."""
    return {pods.CHIP_FAMILY_LABEL: settings.chip_family} if job.spec.workers.accelerator == "ascend" else {}


def evaluator_placement(job: ArcFaceTrainingJob, devices: int) -> Manifest:
    """What of the ranks' template the evaluator's pod goes by, too: its image is made for the chip of their nodes.

    One pod is a block of its own. Levels of a network are for several.
    """
    workers = job.spec.workers
    if workers.accelerator != "ascend":
        return {}
    marks = {name: mark for name, mark in placement_marks(workers.template).items() if name == SCHEDULE_POLICY}
    if marks.get(SCHEDULE_POLICY) == MULTILEVEL:
        marks = {}
    elif has_super_pods(job.spec):
        marks[BLOCK] = str(devices)
    spec = template_map(workers.template, "spec")
    where = {name: spec[name] for name in ("nodeSelector", "tolerations") if name in spec}
    return {**({"metadata": {"annotations": marks}} if marks else {}), **({"spec": where} if where else {})}
