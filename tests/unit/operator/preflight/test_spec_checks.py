from typing import Any

import pytest

from arcface_api.errors import InvalidInput
from arcface_operator.preflight.spec_checks import check_template


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", **fields}]}}


@pytest.mark.parametrize(
    ("template", "field"),
    [
        pytest.param({"spec": {"terminationGracePeriodSeconds": "1"}}, "spec.terminationGracePeriodSeconds", id="text"),
        pytest.param({"spec": {"terminationGracePeriodSeconds": -1}}, "spec.terminationGracePeriodSeconds", id="less"),
        pytest.param(
            {"spec": {"terminationGracePeriodSeconds": None}}, "spec.terminationGracePeriodSeconds", id="null"
        ),
        pytest.param({"spec": {"initContainers": [{}]}}, "spec.initContainers[0].name", id="nameless"),
        pytest.param({"spec": {"initContainers": None}}, "spec.initContainers", id="no list"),
        pytest.param(container(env=[{"name": {}}]), "spec.containers[0].env[0].name", id="map as name"),
        pytest.param(container(env=[{"name": "A=B"}]), "spec.containers[0].env[0].name", id="name with ="),
        pytest.param(
            container(volumeMounts=[{"mountPath": "/x"}]), "spec.containers[0].volumeMounts[0].name", id="mount"
        ),
        pytest.param(
            container(volumeMounts=[{"name": "v", "mountPath": 5}]),
            "spec.containers[0].volumeMounts[0].mountPath",
            id="number as path",
        ),
        pytest.param(container(ports=[{"containerPort": "x"}]), "spec.containers[0].ports[0].containerPort", id="port"),
        pytest.param({"spec": {"volumes": [{"name": "../up"}]}}, "spec.volumes[0].name", id="name that leads away"),
        pytest.param(
            {"spec": {"volumes": [{"name": "v", "downwardAPI": 5}]}}, "spec.volumes[0].downwardAPI", id="shown"
        ),
        pytest.param({"metadata": {"annotations": {"a": 5}}}, "metadata.annotations.a", id="annotation"),
    ],
)
def test_a_template_of_another_form_is_refused_by_field(template: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_template("spec.workers.template", template)
    assert str(caught.value).startswith(f"spec.workers.template: {field}: ")
    assert str(caught.value).endswith("; correct the template")


def test_fields_that_are_not_read_here_may_be_anything() -> None:
    check_template("t", None)
    template = container(env=[{"name": "A", "value": "x"}], resources={"limits": {"cpu": 1}}, lifecycle={})
    check_template("t", {"metadata": {"labels": {}}, "spec": {**template["spec"], "nodeSelector": {"a": "b"}}})
