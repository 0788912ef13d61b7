from typing import Any

import pytest

from arcface_api.errors import InvalidInput
from arcface_operator.manifests.pod_template import with_template

DEFAULTS = {"spec": {"grace": 120, "containers": [{"name": "main", "securityContext": {"privileged": False}}]}}
OURS = {
    "metadata": {"labels": {"job": "ours"}},
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "main",
                "image": "ours",
                "args": ["a", "b"],
                "env": [{"name": "RANK", "value": "0"}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "faces"}}],
    },
}


def with_user(spec: Any, metadata: Any = None) -> dict[str, Any]:
    template = {"spec": spec} if metadata is None else {"spec": spec, "metadata": metadata}
    return with_template(DEFAULTS, template, OURS, "spec.workers.template")


def test_without_a_template_ours_lies_over_the_defaults() -> None:
    pod = with_template(DEFAULTS, None, OURS, "spec.workers.template")
    assert pod["spec"]["grace"] == 120
    assert pod["spec"]["containers"][0]["securityContext"] == {"privileged": False}
    assert pod["spec"]["containers"][0]["image"] == "ours"


def test_users_maps_are_merged_and_ours_wins() -> None:
    pod = with_user(
        {"nodeSelector": {"npu": "yes"}, "restartPolicy": "Always", "grace": 5}, {"labels": {"job": "x", "team": "f"}}
    )
    assert pod["spec"]["nodeSelector"] == {"npu": "yes"}
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["grace"] == 5
    assert pod["metadata"]["labels"] == {"job": "ours", "team": "f"}


def test_users_fields_of_our_container_are_merged_by_name() -> None:
    pod = with_user({"containers": [{"name": "main", "securityContext": {"privileged": True}, "args": ["x"]}]})
    assert len(pod["spec"]["containers"]) == 1
    assert pod["spec"]["containers"][0]["securityContext"] == {"privileged": True}
    assert pod["spec"]["containers"][0]["args"] == ["a", "b"]


def test_users_other_containers_come_after_ours() -> None:
    pod = with_user({"containers": [{"name": "sidecar", "image": "s"}, {"name": "main"}]})
    assert [container["name"] for container in pod["spec"]["containers"]] == ["main", "sidecar"]


def test_a_variable_volume_or_mount_of_ours_is_not_mixed_with_the_users() -> None:
    pod = with_user(
        {
            "volumes": [{"name": "data", "hostPath": {"path": "/x"}}, {"name": "more", "emptyDir": {}}],
            "containers": [
                {
                    "name": "main",
                    "env": [{"name": "RANK", "valueFrom": {"fieldRef": {}}}, {"name": "MORE", "value": "1"}],
                    "volumeMounts": [
                        {"name": "x", "mountPath": "/data", "readOnly": True},
                        {"name": "y", "mountPath": "/y"},
                    ],
                }
            ],
        }
    )
    container = pod["spec"]["containers"][0]
    assert pod["spec"]["volumes"] == [*OURS["spec"]["volumes"], {"name": "more", "emptyDir": {}}]
    assert container["env"] == [{"name": "RANK", "value": "0"}, {"name": "MORE", "value": "1"}]
    assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}, {"name": "y", "mountPath": "/y"}]


def test_tolerations_are_appended() -> None:
    ours = {"spec": {**OURS["spec"], "tolerations": [{"key": "ours"}]}}
    pod = with_template(DEFAULTS, {"spec": {"tolerations": [{"key": "user"}]}}, ours, "t")
    assert pod["spec"]["tolerations"] == [{"key": "user"}, {"key": "ours"}]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        pytest.param(
            {"nodeSelector": {}},
            "spec.workers.template.nodeSelector: unknown field; a pod template has metadata and spec",
            id="spec forgotten",
        ),
        pytest.param({"spec": []}, "spec.workers.template.spec: must be a map", id="spec no map"),
        pytest.param(
            {"spec": {"containers": {"name": "main"}}},
            "spec.workers.template.spec.containers: is not what a pod has there; correct the template",
            id="containers no list",
        ),
        pytest.param(
            {"spec": {"containers": [{"image": "x"}]}},
            "spec.workers.template.spec.containers: every item must be a map with name",
            id="container without a name",
        ),
        pytest.param(
            {"spec": {"volumes": ["x"]}},
            "spec.workers.template.spec.volumes: every item must be a map with name",
            id="volume no map",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": ["x"]}]}},
            "spec.workers.template.spec.containers: every item must be a map with name",
            id="name no text",
        ),
    ],
)
def test_malformed_templates_are_refused_by_the_path_of_the_field(template: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        with_template(DEFAULTS, template, OURS, "spec.workers.template")
    assert str(caught.value) == message


def test_a_default_is_taken_back_by_null() -> None:
    """As the API server takes it: a field that is null is not there."""
    container = {"name": "main", "securityContext": {"privileged": None}}
    pod = with_user({"grace": None, "containers": [container]})
    assert pod["spec"]["grace"] is None
    assert pod["spec"]["containers"][0]["securityContext"] == {"privileged": None}
