"""The sample of a policy on the templates of jobs, as a real API server enforces it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.builders.jobs import job_document
from support.job_requests import MERGE, STRICT, create, jobs_path
from support.waiting import wait_until
from testbed.control_plane.cluster import ControlPlane

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cluster-template-policy.yaml"
HOST_PATH = {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}
TOKEN = {"volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}
SETTINGS = {"volumes": [{"name": "settings", "projected": {"sources": [{"configMap": {"name": "settings"}}]}}]}
ADMIN = [{"name": "trainer", "securityContext": {"runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}}}]
BOUNDED = [{"name": "trainer", "env": [], "securityContext": {"capabilities": {"drop": ["ALL"]}}}]
PRIVILEGED = [{"name": "trainer", "securityContext": {"privileged": True}}]


def asked(api: httpx.Client, namespace: str, **spec: Any) -> httpx.Response:
    """A request that leaves nothing behind."""
    return api.post(jobs_path(namespace), params={**STRICT, "dryRun": "All"}, json=job_document("tried", **spec))


def in_workers(pod: dict[str, Any]) -> dict[str, Any]:
    return {"workers": {"template": {"spec": pod}}}


@pytest.fixture
def policed(control_plane: ControlPlane, api: httpx.Client, namespace: str) -> Iterator[str]:
    """A namespace that the policy is bound to, and no other; the job `older` asked before for what is refused."""
    create(api, namespace, "older", suspend=False, **in_workers(HOST_PATH))
    policy, binding = yaml.safe_load_all(SAMPLE.read_text())
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding["spec"]["matchResources"] = {"namespaceSelector": here}
    document = yaml.safe_dump_all([policy, binding])
    control_plane.kubectl("apply", "-f", "-", stdin=document)
    wait_until(lambda: asked(api, namespace, **in_workers(HOST_PATH)).status_code == httpx.codes.UNPROCESSABLE_ENTITY)
    yield namespace
    control_plane.kubectl("delete", "-f", "-", stdin=document)


def test_templates_are_kept_from_the_node(api: httpx.Client, policed: str) -> None:
    evaluation = {"claimName": "sets", "template": {"spec": {"hostNetwork": True}}}
    refused = [
        (in_workers(HOST_PATH), "folders of the nodes (hostPath)"),
        ({"evaluation": evaluation}, "hostNetwork, hostPID or hostIPC"),
        (in_workers({"hostPID": True}), "hostNetwork, hostPID or hostIPC"),
        (in_workers({"serviceAccountName": "admin"}), "may not choose an account"),
        (in_workers({"serviceAccount": "admin"}), "may not choose an account"),
        (in_workers(TOKEN), "tokens of accounts"),
        (in_workers({"containers": ADMIN}), "may not add capabilities"),
        (in_workers({"initContainers": ADMIN}), "may not add capabilities"),
        (in_workers({"containers": PRIVILEGED}), "privileged containers"),
        (in_workers({"initContainers": PRIVILEGED}), "privileged containers"),
    ]
    for spec, sentence in refused:
        answered = asked(api, policed, **spec)
        assert (answered.status_code, sentence in answered.text) == (422, True), answered.text
    harmless = {"nodeSelector": {"npu": "yes"}, "containers": BOUNDED, **SETTINGS}
    for spec in ({}, in_workers(harmless), {"evaluation": {"claimName": "sets"}}):
        assert asked(api, policed, **spec).status_code == httpx.codes.CREATED


def test_a_job_from_before_the_policy_is_changed_and_deleted_as_any_other(api: httpx.Client, policed: str) -> None:
    older = f"{jobs_path(policed)}/older"

    def patched(**change: Any) -> httpx.Response:
        return api.patch(older, headers=MERGE, json=change)

    for harmless in ({"spec": {"suspend": True}}, {"metadata": {"annotations": {"team": "faces"}}}):
        answered = patched(**harmless)
        assert answered.status_code == httpx.codes.OK, answered.text
    worse = patched(spec={"evaluation": {"claimName": "sets", "template": {"spec": {"hostPID": True}}}})
    assert "templates may not" in worse.text, worse.text
    foreground = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
    assert api.request("DELETE", older, json=foreground).is_success
    released = patched(metadata={"finalizers": None})  # what the garbage collector does at last, if it has not yet
    assert released.status_code in {httpx.codes.OK, httpx.codes.NOT_FOUND}, released.text
    assert api.get(older).status_code == httpx.codes.NOT_FOUND
