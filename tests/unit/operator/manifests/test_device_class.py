"""Which devices a job gets: its own word, else what it was given first, else what its release offers."""

import json
from typing import Any

import pytest

from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests import device_class, evaluator_pod, worker_pod
from arcface_operator.settings import DeviceClass, Settings
from support.builders.jobs import make_job

NODES = {"accelerator-type": "module-910b-8"}
CCE = DeviceClass(name="cce", resource_name="huawei.com/ascend-1980", device_annotation="cce/configuration")
A2 = DeviceClass(name="a2", chip_family="ascend-910b", trainer_image="trainer:a2", node_selector=NODES)
MIXED = Settings(device_classes=(CCE, A2))
OWN_IMAGE = Settings().trainer_image


def on_cards(resource: str | None = None, first: str | None = None, **fields: Any) -> ArcFaceTrainingJob:
    """A job on cards that asks for a resource, and was given one when it began."""
    asked = {} if resource is None else {"resourceName": resource}
    job = make_job(workers={"accelerator": "ascend", **asked, **fields}, evaluation={"claimName": "sets"})
    return job.model_copy(update={"status": job.status.model_copy(update={"resource_name": first})})


@pytest.mark.parametrize(
    ("asked", "first", "given"),
    [
        pytest.param(None, None, "huawei.com/Ascend910", id="what the release offers"),
        pytest.param("huawei.com/Ascend910", None, "huawei.com/Ascend910", id="what earlier releases have stored"),
        pytest.param(None, "example.com/npu", "example.com/npu", id="what it began with, whatever is offered now"),
        pytest.param("cce", None, "huawei.com/ascend-1980", id="a class"),
        pytest.param("a2", None, "huawei.com/Ascend910", id="a class of the same resource"),
        pytest.param("a3", None, "a3", id="no class that there is"),
    ],
)
def test_the_resource_that_a_job_gets(asked: str | None, first: str | None, given: str) -> None:
    job, _ = device_class.with_device_class(on_cards(asked, first), MIXED)
    assert job.spec.workers.device_resource == given


@pytest.mark.parametrize(
    ("asked", "annotation", "family", "image"),
    [
        (None, "ascend.kubectl.kubernetes.io/ascend-910-configuration", "ascend-910", OWN_IMAGE),
        ("cce", "cce/configuration", "ascend-910", OWN_IMAGE),
        ("huawei.com/ascend-1980", "cce/configuration", "ascend-910", OWN_IMAGE),
        ("a2", "ascend.kubectl.kubernetes.io/ascend-910-configuration", "ascend-910b", "trainer:a2"),
    ],
)
def test_what_a_class_leaves_open_is_as_the_settings_say(
    asked: str | None, annotation: str, family: str, image: str
) -> None:
    _, settings = device_class.with_device_class(on_cards(asked), MIXED)
    assert (settings.device_annotation, settings.chip_family, settings.trainer_image) == (annotation, family, image)


def test_the_nodes_of_a_class_are_those_of_all_its_pods_unless_the_job_says_otherwise() -> None:
    job, settings = device_class.with_device_class(on_cards("a2"), MIXED)
    assert job.spec.workers.accelerator_type == "module-910b-8"
    pods = worker_pod.build_worker_pod(job, 0, 0, settings), evaluator_pod.build_evaluator_pod(job, 0, settings)
    for pod in pods:
        assert pod["spec"]["nodeSelector"] == NODES
        assert pod["metadata"]["labels"]["ring-controller.atlas"] == "ascend-910b"
        (container,) = pod["spec"]["containers"]
        assert container["image"] == "trainer:a2"
        assert container["resources"]["limits"] == {"huawei.com/Ascend910": 1}
    own = {"spec": {"nodeSelector": {"accelerator-type": "module-910b-16", "zone": "b"}, "tolerations": []}}
    job, _ = device_class.with_device_class(on_cards("a2", template=own), MIXED)
    assert job.spec.workers.template == own


@pytest.mark.parametrize("asked", [None, "huawei.com/Ascend910", "a1"])
def test_jobs_that_name_no_kind_are_of_the_class_with_the_releases_own_resource(asked: str | None) -> None:
    a1 = DeviceClass(name="a1", resource_name="huawei.com/Ascend910", node_selector={"accelerator-type": "module"})
    mixed = Settings(device_classes=(A2, a1))
    job, settings = device_class.with_device_class(on_cards(asked), mixed)
    assert job.spec.workers.template == {"spec": {"nodeSelector": {"accelerator-type": "module"}}}
    assert (job.spec.workers.device_resource, settings.trainer_image) == ("huawei.com/Ascend910", OWN_IMAGE)
    job, _ = device_class.with_device_class(on_cards("a2"), mixed)
    assert job.spec.workers.template == {"spec": {"nodeSelector": NODES}}


@pytest.mark.parametrize("template", [{"spec": "pod"}, {"spec": {"nodeSelector": ["a"]}}])
def test_a_template_that_is_none_is_left_for_its_refusal(template: dict[str, Any]) -> None:
    job, _ = device_class.with_device_class(on_cards("a2", template=template), MIXED)
    assert job.spec.workers.template == template


def test_a_job_on_cpus_has_no_devices() -> None:
    job = make_job(workers={"resourceName": "a2"})
    assert device_class.with_device_class(job, MIXED) == (job, MIXED)


def test_two_classes_of_one_name_are_refused() -> None:
    classes = [{"name": "a2"}, {"name": "b"}, {"name": "a2", "resourceName": "example.com/npu"}]
    with pytest.raises(InvalidInput, match=r"settings\.yaml: deviceClasses: two classes are named 'a2'"):
        Settings.from_json(json.dumps({"deviceClasses": classes}), "settings.yaml")
