"""Pods that operator, chart, examples and pages make, before the restricted Pod Security level of an API server."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests import evaluator_pod, worker_pod
from arcface_operator.preflight.job_file import JobLoader
from arcface_operator.settings import Settings
from support.builders.jobs import make_job
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.programs.helm import rendered

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Settings(driver_mounts=("/usr/local/Ascend/driver",), driver_files=("/etc/ascend_install.info",))

Manifest = dict[str, Any]


def pods_of_job(job: ArcFaceTrainingJob, settings: Settings) -> dict[str, Manifest]:
    """All kinds of pods that the operator makes for a job."""
    evaluator = (
        {} if job.spec.evaluation is None else {"evaluator": evaluator_pod.build_evaluator_pod(job, 0, settings)}
    )
    rank, spare = (build(job, 1, 0, settings) for build in (worker_pod.build_worker_pod, worker_pod.build_spare_pod))
    return {"rank": rank, "spare": spare, **evaluator}


def pods_in(name: str, text: str) -> dict[str, Manifest]:
    """The pods that documents in YAML make, those of their jobs included."""
    found: dict[str, Manifest] = {}
    for each in filter(None, yaml.load_all(text, JobLoader)):
        kind, label = each["kind"], f"{name}: {each['metadata']['name']}"
        if kind == "Pod":
            found[label] = each
        elif kind in {"Deployment", "Job"}:
            found[label] = {"metadata": {"name": "templated"}, "spec": each["spec"]["template"]["spec"]}
        elif kind == "ArcFaceTrainingJob":
            each["metadata"] = {"name": each["metadata"]["name"]}
            job = ArcFaceTrainingJob.from_json(json.dumps(each), label)
            found |= {f"{label}: {part}": pod for part, pod in pods_of_job(job, Settings()).items()}
    return found


def all_pods() -> dict[str, Manifest]:
    """Whatever comes out of a clone of the repository."""
    found = pods_in("chart", rendered("test.training=true", "crds.enabled=false"))
    for path in (ROOT / "examples").glob("*.yaml"):
        found |= pods_in(path.name, path.read_text())
    for path in (ROOT / "docs").glob("*.md"):
        blocks = path.read_text().split("```yaml\n")[1:]
        printed = [block.partition("```")[0] for block in blocks]
        found |= pods_in(path.name, "\n---\n".join(text for text in printed if text.startswith("apiVersion")))
    return found


@pytest.fixture
def restricted(control_plane: ControlPlane, api: httpx.Client, namespace: str) -> str:
    """A namespace that enforces the restricted level, with the operator's account."""
    control_plane.kubectl("create", "serviceaccount", "arcface-operator", "-n", namespace)
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    root = {"metadata": {"name": "root"}, "spec": {"containers": [{"name": "root", "image": "root"}]}}
    wait_until(lambda: asked(api, namespace, root).status_code == httpx.codes.FORBIDDEN)
    return namespace


def asked(api: httpx.Client, namespace: str, pod: Manifest) -> httpx.Response:
    """Admission's word on a pod that is not made."""
    metadata = {**pod["metadata"], "namespace": namespace}
    return api.post(
        f"/api/v1/namespaces/{namespace}/pods", params={"dryRun": "All"}, json={**pod, "metadata": metadata}
    )


def refused(api: httpx.Client, namespace: str, pods: dict[str, Manifest]) -> dict[str, str]:
    """Why pods are not admitted, of those that are not."""
    answers = {name: asked(api, namespace, pod) for name, pod in pods.items()}
    return {name: each.text for name, each in answers.items() if each.status_code != httpx.codes.CREATED}


def test_all_pods_are_admitted_by_the_restricted_level(api: httpx.Client, restricted: str) -> None:
    pods = all_pods()
    made = {"chart: arcface-operator", "chart: arcface-operator-test", "chart: trains-arcface-operator: rank"}
    made |= {"cluster-quickstart.yaml: draw-faces", "cluster-quickstart.yaml: quickstart: evaluator"}
    assert made | {"storage.md: loader", "ms1mv2-8x910.yaml: ms1mv2-r100: rank"} <= pods.keys()
    assert refused(api, restricted, pods) == {}


def test_the_drivers_folders_are_what_the_restricted_level_refuses(api: httpx.Client, restricted: str) -> None:
    """And are the sole reason: Ascend's container runtime brings the driver in without them."""
    workers = {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 8}
    job = make_job(workers=workers, evaluation={"claimName": "faces"})
    said = refused(api, restricted, pods_of_job(job, DRIVER))
    assert said.keys() == {"rank", "spare", "evaluator"}
    assert all('restricted volume types (volumes \\"driver-0\\", \\"driver-1\\"' in each for each in said.values()), (
        said
    )
    assert all("violates PodSecurity" in each and "hostPath" in each for each in said.values())
    assert refused(api, restricted, pods_of_job(job, Settings())) == {}


def test_a_cluster_may_choose_the_user_of_a_jobs_pods(api: httpx.Client, restricted: str) -> None:
    job = make_job(evaluation={"claimName": "faces"})
    for pod in pods_of_job(job, Settings(fixed_user=False)).values():
        admitted = answer(asked(api, restricted, pod))["spec"]["securityContext"]
        assert {"runAsUser", "runAsGroup", "fsGroup"} & admitted.keys() == set(), admitted
        assert admitted["runAsNonRoot"] is True
