"""What `helm test` makes, as Helm renders it; `tests/cluster/real_node/test_newcomer.py` runs it."""

import json
import re
from typing import Any

import pytest
import yaml

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.settings import Settings
from support.printed_commands import printed_commands
from testbed.programs.helm import CHART, notes, objects, rendered, settings_of

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def test_helm_test_has_the_operator_act_where_it_looks_for_jobs() -> None:
    for values, namespace in (((), "arcface-system"), (("namespaces={a,b}",), "a")):
        rendered_ones = objects(*values)
        job = rendered_ones["ArcFaceTrainingJob", "test-arcface-operator"]
        pod = rendered_ones["Pod", "arcface-operator-test"]
        hooks = [each["metadata"].pop("annotations") for each in (job, pod)]
        assert [(each["helm.sh/hook"], each["helm.sh/hook-weight"]) for each in hooks] == [("test", "0"), ("test", "1")]
        read = ArcFaceTrainingJob.from_json(json.dumps(job), "test job")
        assert (read.metadata.namespace, read.spec.suspend) == (namespace, True)
        (container,) = pod["spec"]["containers"]
        assert f"--namespace={namespace}" in container["args"]
        budget = rendered_ones["PodDisruptionBudget", "arcface-operator"]["spec"]["selector"]["matchLabels"]
        assert not budget.items() <= pod["metadata"]["labels"].items()


def test_the_pods_of_helm_test_are_placed_as_the_operator_is() -> None:
    chosen = ("podLabels.team=faces", "podAnnotations.mesh=off", "priorityClassName=high")
    affinity = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
    found = objects("test.training=true", *chosen, f"{affinity}.matchFields[0].key=metadata.name")
    operator = found["Deployment", "arcface-operator"]["spec"]["template"]["spec"]
    for name in ("arcface-operator-test", "arcface-operator-trains"):
        pod = found["Pod", name]
        assert (pod["metadata"]["labels"]["team"], pod["metadata"]["annotations"]["mesh"]) == ("faces", "off")
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        for field in ("priorityClassName", "affinity"):
            assert pod["spec"][field] == operator[field]


def test_helm_test_trains_where_it_is_told_to() -> None:
    """Each hook waits for the one before; the claim comes after its job, which must be gone before the claim can be."""
    chosen = ("test.training=true", "test.storageClassName=fast", "namespaces={a}", "imagePullSecrets[0].name=login")
    found = objects(*chosen)
    name = "trains-arcface-operator"
    assert not {("ArcFaceTrainingJob", name), ("PersistentVolumeClaim", name)} & objects().keys()
    hooks = [found[key] for key in (("ArcFaceTrainingJob", name), ("PersistentVolumeClaim", name))]
    hooks.append(found["Pod", "arcface-operator-trains"])
    assert [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in hooks] == [2, 3, 4]
    job, claim, waiting = hooks
    assert (job["metadata"]["namespace"], claim["metadata"]["namespace"]) == ("a", "a")
    assert claim["spec"]["storageClassName"] == "fast"
    assert "storageClassName" not in objects("test.training=true")["PersistentVolumeClaim", name]["spec"]
    (container,) = waiting["spec"]["containers"]
    assert container["args"] == ["--namespace=a", "--phase=Succeeded", "--seconds=900"]
    pod = build_worker_pod(ArcFaceTrainingJob.from_json(json.dumps(without_hooks(job)), "test job"), 0, 0, Settings())
    (drawing,) = pod["spec"]["initContainers"]
    assert drawing["image"] == Settings().trainer_image
    (training,) = pod["spec"]["containers"]
    asked = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    assert drawing["resources"] == training["resources"] == asked
    assert drawing["securityContext"] == pod["spec"]["containers"][0]["securityContext"]
    (mount,) = drawing["volumeMounts"]
    claims = {each["name"]: each.get("persistentVolumeClaim") for each in pod["spec"]["volumes"]}
    assert claims[mount["name"]] == claims["data"] == {"claimName": name}  # none of them only reads it
    assert pod["spec"]["imagePullSecrets"] == [{"name": "login"}]


def test_the_pod_that_trains_is_placed_and_sized_as_it_is_told() -> None:
    taint = ("test.tolerations[0].key=npu", "test.tolerations[0].operator=Exists")
    size = ("test.resources.requests.cpu=2", "test.resources.limits.cpu=4")
    found = objects("test.training=true", "test.nodeSelector.pool=cpu", *taint, *size)
    job = without_hooks(found["ArcFaceTrainingJob", "trains-arcface-operator"])
    pod = build_worker_pod(ArcFaceTrainingJob.from_json(json.dumps(job), "test job"), 0, 0, Settings())["spec"]
    assert pod["nodeSelector"] == {"pool": "cpu"}
    assert pod["tolerations"] == [{"key": "npu", "operator": "Exists"}]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"] == {
            "requests": {"cpu": 2, "memory": "1Gi"},
            "limits": {"cpu": 4, "memory": "2Gi"},
        }


def test_the_page_and_the_notes_give_helm_more_time_than_a_training_has() -> None:
    """`helm test` waits for each hook for `--timeout`, which is 5 minutes unless it is given."""
    (printed,) = (line for line in printed_commands("docs/install.md", "Does it train?") if "helm test" in line)
    minutes = re.search(r" --timeout=(\d+)m$", printed)
    assert minutes is not None
    assert int(minutes[1]) * 60 > VALUES["test"]["seconds"]
    assert "helm test x --namespace here\n" in notes()
    assert "helm test x --namespace here --timeout=1300s\n" in notes("test.training=true", "test.seconds=1000")


def without_hooks(job: dict[str, Any]) -> dict[str, Any]:
    """As Helm's annotations are none of the job's."""
    return {**job, "metadata": {"name": job["metadata"]["name"], "namespace": job["metadata"]["namespace"]}}


def test_the_longest_release_name_gives_names_that_kubernetes_takes() -> None:
    documents = [each for each in yaml.safe_load_all(rendered("test.training=true", release="r" * 53)) if each]
    names = [each["metadata"]["name"] for each in documents if each["kind"] != "CustomResourceDefinition"]
    jobs = [each for each in documents if each["kind"] == "ArcFaceTrainingJob"]
    read = [ArcFaceTrainingJob.from_json(json.dumps(job), "the longest").metadata.name for job in jobs]
    assert sorted(read) == ["test-" + "r" * 49, "trains-" + "r" * 47]
    assert max(map(len, names)) <= 50 + len("-dashboard-fleet")
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) for name in names)


def test_a_release_name_with_a_dot_gives_jobs_that_the_operator_reads() -> None:
    documents = [each for each in yaml.safe_load_all(rendered("test.training=true", release="faces-v1.2")) if each]
    jobs = [each for each in documents if each["kind"] == "ArcFaceTrainingJob"]
    read = [ArcFaceTrainingJob.from_json(json.dumps(job), "with a dot").metadata.name for job in jobs]
    assert sorted(read) == ["test-faces-v1-2-arcface-operator", "trains-faces-v1-2-arcface-operator"]
    waiting = [each["spec"]["containers"][0]["command"][-1] for each in documents if each["kind"] == "Pod"]
    assert sorted(waiting) == sorted(read)


def test_notes_name_the_next_command() -> None:
    assert "kubectl -n here rollout status deployment/x-arcface-operator" in notes()


@pytest.mark.parametrize("value", ["podSecurityContext.runAsUser=null", "podSecurityContext=null"])
def test_a_cluster_that_chooses_the_operators_user_chooses_that_of_jobs(value: str) -> None:
    """Those of `helm test`, too, which are jobs as any others."""
    found, settings = objects("test.training=true", value), settings_of(value)
    tested = without_hooks(found["ArcFaceTrainingJob", "trains-arcface-operator"])
    job = ArcFaceTrainingJob.from_json(json.dumps(tested), "test job")
    pods = [found["Pod", f"arcface-operator-{name}"] for name in ("test", "trains")]
    for pod in (*pods, build_worker_pod(job, 0, 0, settings)):
        for holder in (pod["spec"], *pod["spec"]["containers"], *pod["spec"].get("initContainers", [])):
            assert not {"runAsUser", "fsGroup"} & holder.get("securityContext", {}).keys()
