"""Which jobs ask for super pods, whatever is in the user's template."""

from typing import Any

import pytest

from arcface_operator.manifests.card_placement import has_super_pods, pods_per_super_pod
from support.builders.jobs import make_job

BLOCK, POLICY = "sp-block", "huawei.com/schedule_policy"


def spec_of(template: Any, replicas: int = 4, devices: int = 16) -> Any:
    workers = {"accelerator": "ascend", "replicas": replicas, "devicesPerWorker": devices, "template": template}
    return make_job(workers=workers).spec


@pytest.mark.parametrize(
    "template",
    [
        None,
        {},
        {"metadata": "text", "spec": 7},
        {"metadata": {"annotations": ["sp-block"]}, "spec": {"nodeSelector": "module-a3-16-super-pod"}},
        {"metadata": {"annotations": {POLICY: ["chip2-node16-sp"]}}},
        {"metadata": {"annotations": None}, "spec": {"nodeSelector": {"accelerator-type": ["module"]}}},
    ],
)
def test_a_template_that_is_none_asks_for_nothing(template: Any) -> None:
    spec = spec_of(template)
    assert not has_super_pods(spec)
    assert pods_per_super_pod(spec) == 4
    assert spec.workers.accelerator_type not in {"module", "module-a3-16-super-pod"}


@pytest.mark.parametrize(
    ("annotations", "pods"),
    [
        pytest.param({BLOCK: "32"}, 2, id="two pods"),
        pytest.param({BLOCK: "8"}, 1, id="less than a pod"),
        pytest.param({BLOCK: "40"}, 2, id="no whole number of pods"),
        pytest.param({POLICY: "multilevel", "huawei.com/affinity-config": "level2=4,level1=2"}, 2, id="first level"),
        pytest.param(
            {POLICY: "multilevel", "huawei.com/affinity-config": "level1=2", BLOCK: "64"}, 4, id="block first"
        ),
        pytest.param({POLICY: "multilevel"}, 4, id="no levels"),
    ],
)
def test_pods_share_a_super_pod_by_its_block(annotations: dict[str, str], pods: int) -> None:
    assert pods_per_super_pod(spec_of({"metadata": {"annotations": annotations}})) == pods
