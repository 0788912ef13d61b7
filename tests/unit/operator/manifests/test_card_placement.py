"""What Ascend's plugin for Volcano is told: on the group, on the ranks' pods and on the evaluator's."""

from typing import Any

import pytest

from arcface_operator.manifests.evaluator_pod import build_evaluator_pod, evaluation_gang
from arcface_operator.manifests.gang import build_pod_group
from arcface_operator.manifests.worker_pod import build_worker_pod, training_gang
from arcface_operator.settings import Settings
from support.builders.jobs import make_job

POLICY, LEVELS, BLOCK = "huawei.com/schedule_policy", "huawei.com/affinity-config", "sp-block"
SETTINGS = Settings(chip_family="ascend-910b")
A3 = {"accelerator-type": "module-a3-16-super-pod"}


def job_of(template: Any = None, gang: str = "volcano", **fields: Any) -> Any:
    workers = {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 16, "template": template}
    evaluation = {"claimName": "sets", **fields.pop("evaluation", {})}
    return make_job(workers={**workers, **fields}, evaluation=evaluation, scheduling={"gang": gang})


def marked(**annotations: str) -> Any:
    """A template for super pods with annotations, by their short names."""
    names = {"policy": POLICY, "levels": LEVELS, "block": BLOCK}
    found = {names.get(name, name): value for name, value in annotations.items()}
    return {"metadata": {"annotations": found}, "spec": {"nodeSelector": A3}}


def on_groups(job: Any) -> list[dict[str, str]]:
    """Annotations of the groups of ranks and evaluator."""
    groups = [build_pod_group(job, gang, SETTINGS) for gang in (training_gang(job), evaluation_gang(job))]
    return [group["metadata"].get("annotations", {}) for group in groups if group is not None]


def evaluator(job: Any) -> Any:
    return build_evaluator_pod(job, 1, SETTINGS)


@pytest.mark.parametrize(
    ("template", "ranks", "alone"),
    [
        pytest.param(None, {}, {}, id="nothing said"),
        pytest.param(marked(block="32"), {BLOCK: "32"}, {BLOCK: "1"}, id="a block"),
        pytest.param(
            marked(policy="chip2-node16-sp", block="32", other="x"),
            {POLICY: "chip2-node16-sp", BLOCK: "32"},
            {POLICY: "chip2-node16-sp", BLOCK: "1"},
            id="a policy of super pods and a block",
        ),
        pytest.param(marked(policy="chip2-node16"), *[{POLICY: "chip2-node16"}] * 2, id="a policy of single nodes"),
        pytest.param(
            marked(policy="multilevel", levels="level1=2"), {POLICY: "multilevel", LEVELS: "level1=2"}, {}, id="levels"
        ),
        pytest.param({"metadata": ["sp-block"], "spec": 7}, {}, {}, id="no template"),
    ],
)
def test_a_group_has_the_marks_that_are_looked_for_there(template: Any, ranks: Any, alone: Any) -> None:
    assert on_groups(job_of(template)) == [ranks, alone]


def test_the_evaluators_own_template_has_the_last_word() -> None:
    own = {"metadata": {"annotations": {BLOCK: "4"}}, "spec": {"nodeSelector": {"zone": "b"}}}
    job = job_of(marked(block="32"), evaluation={"template": own})
    assert on_groups(job)[1] == {BLOCK: "4"}
    assert evaluator(job)["metadata"]["annotations"][BLOCK] == "4"
    assert evaluator(job)["spec"]["nodeSelector"] == {**A3, "zone": "b"}


def test_an_evaluator_with_several_cards_is_a_block_of_them() -> None:
    resources = {"limits": {"huawei.com/Ascend910": 4}}
    job = job_of(marked(block="32"), evaluation={"resources": resources})
    assert evaluator(job)["metadata"]["annotations"][BLOCK] == "4"


@pytest.mark.parametrize("fields", [{}, {"replicas": 1, "devicesPerWorker": 1}, {"rendezvous": "dynamic"}])
def test_every_pod_that_asks_for_cards_has_the_label_of_its_chips(fields: dict[str, Any]) -> None:
    job = job_of(**fields)
    labels = [pod["metadata"]["labels"] for pod in (build_worker_pod(job, 0, 0, SETTINGS), evaluator(job))]
    assert [each["ring-controller.atlas"] for each in labels] == ["ascend-910b"] * 2


@pytest.mark.parametrize("own", [{}, {"labels": {"ring-controller.atlas": "ascend-910"}}])
def test_a_job_for_other_chips_than_the_clusters_usual_ones_says_so_once(own: dict[str, Any]) -> None:
    job = job_of(
        {"metadata": {"labels": {"ring-controller.atlas": "ascend-npu"}}}, evaluation={"template": {"metadata": own}}
    )
    labels = [pod["metadata"]["labels"] for pod in (build_worker_pod(job, 0, 0, SETTINGS), evaluator(job))]
    expected = ["ascend-npu", "ascend-910" if own else "ascend-npu"]
    assert [each["ring-controller.atlas"] for each in labels] == expected


def test_an_evaluator_goes_where_the_ranks_of_its_image_go() -> None:
    tolerations = [{"key": "npu", "operator": "Exists"}]
    job = job_of({"spec": {"nodeSelector": A3, "tolerations": tolerations, "hostNetwork": True}})
    spec = evaluator(job)["spec"]
    assert (spec["nodeSelector"], spec["tolerations"], spec.get("hostNetwork")) == (A3, tolerations, None)


def test_on_cpus_nothing_of_it_is_said() -> None:
    job = job_of(marked(block="32"), accelerator="cpu")
    pods = [build_worker_pod(job, 0, 0, SETTINGS), evaluator(job)]
    assert not any("ring-controller.atlas" in pod["metadata"]["labels"] for pod in pods)
    assert "nodeSelector" not in pods[1]["spec"]
