"""The chart as Helm renders it; `tests/cluster/real_node/test_install.py` installs it."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from arcface_operator.kubernetes.election import LEASE_NAME
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.settings import DeviceClass, Settings
from support.builders.jobs import make_job
from support.shipped import DASHBOARDS, RULES
from testbed.images.builder import REPOSITORY
from testbed.programs.binaries import binary
from testbed.programs.commands import run
from testbed.programs.helm import CHART, objects, rendered, settings_of

RIGHTS = yaml.safe_load((REPOSITORY / "operator" / "src" / "arcface_operator" / "kubernetes" / "rbac.yaml").read_text())
EVERYTHING = ("monitoring.podMonitors=true", "monitoring.rules=true", "networkPolicy.enabled=true")


@pytest.fixture(scope="module")
def full() -> dict[tuple[str, str], dict[str, Any]]:
    return objects(*EVERYTHING)


@pytest.mark.parametrize(
    "values",
    [(), (*EVERYTHING, "test.training=true"), ("namespaces={a,b}",), ("crds.enabled=false", "rbac.create=false")],
)
def test_helm_finds_nothing_to_complain_about(values: tuple[str, ...]) -> None:
    run([str(binary("helm")), "lint", "--strict", str(CHART), *(f"--set={value}" for value in values)])


def test_generated_files_are_as_their_sources_say() -> None:
    subprocess.run([sys.executable, REPOSITORY / "charts" / "generator", "--check"], check=True)


def test_the_operator_reads_the_settings_that_are_rendered() -> None:
    chosen = ("settings.progressSeconds=3", "trainer.digest=sha256:" + "a" * 64)
    driver = ("ascend.driverMounts={/usr/a,/usr/b}", "ascend.driverFiles={/etc/c}")
    settings = settings_of(*chosen, *driver)
    assert settings.progress_seconds == 3
    assert settings.trainer_image == f"arcface-trainer@sha256:{'a' * 64}"
    assert (settings.driver_mounts, settings.driver_files) == (("/usr/a", "/usr/b"), ("/etc/c",))
    assert settings_of() == Settings()


def test_pods_have_their_settings_in_their_own_template() -> None:
    """So changed ones start new pods, and those of before read theirs as long as they live."""
    (volume,) = pod_of()["spec"]["volumes"]
    (item,) = volume["downwardAPI"]["items"]
    assert item == {"path": "settings.yaml", "fieldRef": {"fieldPath": "metadata.annotations['arcface.io/settings']"}}
    (container,) = pod_of()["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    assert f"--settings={mount['mountPath']}/{item['path']}" in container["args"]
    chosen = (r"podAnnotations.arcface\.io/settings=none", "podAnnotations.mesh=off")
    assert pod_of(*chosen)["metadata"]["annotations"] == {**pod_of()["metadata"]["annotations"], "mesh": "off"}


def test_the_pods_keep_to_the_restricted_profile(full: Any) -> None:
    pod = full["Deployment", "arcface-operator"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["securityContext"]["runAsNonRoot"], container["securityContext"]["readOnlyRootFilesystem"]) == (
        True,
        True,
    )
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"]
    assert full["Deployment", "arcface-operator"]["spec"]["replicas"] == 2


def test_kube_score_finds_nothing_that_is_not_meant() -> None:
    meant = {
        # An image is named by version or digest.
        "container-image-pull-policy",
        # Spread by a topology constraint.
        "deployment-has-host-podantiaffinity",
    }
    # A limit of CPU would only make a busy operator slow.
    options = ["--ignore-container-cpu-limit", *(f"--ignore-test={name}" for name in sorted(meant))]
    everything = rendered(*EVERYTHING, "test.training=true")
    run([str(binary("kube-score")), "score", "--exit-one-on-warning", *options, "-"], everything)


def test_rights_are_those_that_the_operator_is_tested_with(full: Any) -> None:
    assert full["ClusterRole", "arcface-operator"]["rules"] == RIGHTS["namespaced"] + RIGHTS["cluster"]
    assert full["Role", "arcface-operator-election"]["rules"] == RIGHTS["election"]
    assert full["ClusterRoleBinding", "arcface-operator"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "arcface-operator", "namespace": "arcface-system"}
    ]


def test_an_operator_of_some_namespaces_has_no_rights_elsewhere() -> None:
    documents = [each for each in yaml.safe_load_all(rendered("namespaces={a,b}")) if each]
    assert not [each for each in documents if each["kind"] == "ClusterRoleBinding"]
    roles = {each["metadata"]["namespace"]: each["rules"] for each in documents if each["kind"] == "Role"}
    assert roles == {"a": RIGHTS["namespaced"], "b": RIGHTS["namespaced"], "arcface-system": RIGHTS["election"]}
    (deployment,) = (each for each in documents if each["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"][2:] == ["--namespace=a", "--namespace=b"]


def test_an_operator_of_some_namespaces_may_be_let_read_what_mindx_tells_of_cards() -> None:
    rendered_ones = rendered("namespaces={a}", "ascend.faultNamespaces={kube-system,mindx-dl}")
    documents = [each for each in yaml.safe_load_all(rendered_ones) if each]
    roles = {each["metadata"]["namespace"]: each["rules"] for each in documents if each["kind"] == "Role"}
    assert roles["kube-system"] == roles["mindx-dl"] == RIGHTS["faults"]
    assert [rule["verbs"] for rule in RIGHTS["faults"]] == [["get"]]
    bound = {each["metadata"]["namespace"] for each in documents if each["kind"] == "RoleBinding"}
    assert {"kube-system", "mindx-dl"} <= bound


def test_whoever_views_edits_or_administers_a_namespace_does_so_with_its_jobs() -> None:
    def aggregated(*values: str) -> dict[str, list[Any]]:
        roles = [each for each in yaml.safe_load_all(rendered(*values)) if each and each["kind"] == "ClusterRole"]
        into = "rbac.authorization.k8s.io/aggregate-to-"
        return {
            name: [
                rule
                for each in roles
                if each["metadata"]["labels"].get(into + name) == "true"
                for rule in each["rules"]
            ]
            for name in ("view", "edit", "admin")
        }

    read, written = aggregated()["edit"]
    assert (read["resources"], read["verbs"]) == (
        ["arcfacetrainingjobs", "arcfacetrainingjobs/status"],
        ["get", "list", "watch"],
    )
    assert written["resources"] == ["arcfacetrainingjobs"]  # its status is the operator's alone
    assert aggregated() == {"view": [read], "edit": [read, written], "admin": [read, written]}
    assert aggregated("namespaces={a}") == aggregated()
    assert not any(aggregated("rbac.aggregate=false").values())


def test_the_lease_may_be_changed_by_its_name_only(full: Any) -> None:
    rules = full["Role", "arcface-operator-election"]["rules"]
    unnamed = {verb for rule in rules if not rule.get("resourceNames") for verb in rule["verbs"]}
    assert unnamed == {"create"}
    (named,) = (rule for rule in rules if rule.get("resourceNames"))
    assert named["resourceNames"] == [LEASE_NAME]


def test_the_resource_is_ours_and_stays_unless_asked(full: Any) -> None:
    name = ("CustomResourceDefinition", "arcfacetrainingjobs.arcface.io")
    source = yaml.safe_load((REPOSITORY / "crds" / "arcface.io_arcfacetrainingjobs.yaml").read_text())
    assert full[name]["spec"] == source["spec"]
    assert full[name]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "annotations" not in objects("crds.keep=false")[name]["metadata"]
    assert name not in objects("crds.enabled=false")


def test_no_value_of_a_release_changes_the_resource_that_all_releases_share(full: Any) -> None:
    name = ("CustomResourceDefinition", "arcfacetrainingjobs.arcface.io")
    other = objects(*EVERYTHING, "ascend.resourceName=example.com/npu", "ascend.deviceClasses[0].name=b")
    assert other[name] == full[name]
    assert "huawei.com/Ascend910" not in json.dumps(full[name])


def test_the_operator_is_told_of_the_kinds_of_cards() -> None:
    classes = "ascend.deviceClasses"
    cce = (f"{classes}[0].name=cce", f"{classes}[0].resourceName=huawei.com/ascend-1980")
    b = (f"{classes}[1].name=b", f"{classes}[1].nodeSelector.accelerator-type=module-910b-8")
    settings = settings_of("ascend.resourceName=example.com/npu", *cce, *b)
    assert settings.resource_name == "example.com/npu"
    assert settings.device_classes == (
        DeviceClass(name="cce", resource_name="huawei.com/ascend-1980"),
        DeviceClass(name="b", node_selector={"accelerator-type": "module-910b-8"}),
    )


def test_dashboards_and_alerts_arrive_as_they_are(full: Any) -> None:
    for name, dashboard in DASHBOARDS.items():
        config = full["ConfigMap", f"arcface-operator-dashboard-{name}"]
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(config["data"][f"arcface-{name}.json"]) == dashboard
    assert full["PrometheusRule", "arcface-operator"]["spec"] == yaml.safe_load(RULES.read_text())


def test_runbooks_are_below_where_the_documentation_is_kept() -> None:
    chosen = objects("monitoring.rules=true", "monitoring.documentation=https://git.example.com/arcface/")
    groups = chosen["PrometheusRule", "arcface-operator"]["spec"]["groups"]
    urls = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]]
    assert {url.partition("#")[0] for url in urls} == {"https://git.example.com/arcface/docs/troubleshooting.md"}


def test_monitors_find_the_ports_of_all_ranks(full: Any) -> None:
    ranks = full["PodMonitor", "arcface-operator-ranks"]["spec"]
    (endpoint,) = ranks["podMetricsEndpoints"]
    pod = build_worker_pod(make_job(workers={"devicesPerWorker": 64}), 0, 1, Settings())
    names = [port["name"] for port in pod["spec"]["containers"][0]["ports"]]
    found = [name for name in names if re.fullmatch(endpoint["port"], name)]
    assert found == ["metrics", *(f"metrics-{rank}" for rank in range(1, 64))]
    assert ranks["podTargetLabels"] == ["arcface.io/job"]
    (operator,) = full["PodMonitor", "arcface-operator"]["spec"]["podMetricsEndpoints"]
    assert operator["honorLabels"] is True


def test_an_account_that_is_there_is_used() -> None:
    def account(*values: str) -> str:
        pod = objects("serviceAccount.create=false", *values)["Deployment", "arcface-operator"]["spec"]["template"]
        return pod["spec"]["serviceAccountName"]

    assert account() == "default"
    assert account("serviceAccount.name=mine") == "mine"


def pod_of(*values: str, name: str = "arcface-operator") -> dict[str, Any]:
    """Template of the operator's pods."""
    return objects(*values)["Deployment", name]["spec"]["template"]


def test_one_name_and_further_labels_for_all_objects() -> None:
    named = objects(*EVERYTHING, "fullnameOverride=faces", r"commonLabels.example\.com/team=vision")
    names = {name for kind, name in named if kind not in {"CustomResourceDefinition", "ArcFaceTrainingJob"}}
    assert {name.partition("-")[0] for name in names} == {"faces"}
    pods = named["Deployment", "faces"]["spec"]["template"]["metadata"]
    assert all(each["metadata"]["labels"]["example.com/team"] == "vision" for each in named.values())
    assert pods["labels"]["example.com/team"] == "vision"
    selector = named["Deployment", "faces"]["spec"]["selector"]["matchLabels"]
    assert selector == objects()["Deployment", "arcface-operator"]["spec"]["selector"]["matchLabels"]


def test_a_common_label_changes_none_of_ours() -> None:
    stolen = pod_of(r"commonLabels.app\.kubernetes\.io/name=mine")["metadata"]["labels"]
    assert stolen["app.kubernetes.io/name"] == "arcface-operator"


def test_a_label_for_all_objects_and_one_for_prometheus_of_the_same_name_are_one() -> None:
    text = rendered(*EVERYTHING, "commonLabels.release=ours", "monitoring.labels.release=prometheus")
    for document in text.split("\n---\n"):
        assert len(re.findall(r"^    release: ", document, re.MULTILINE)) <= 1, document
    found = objects(*EVERYTHING, "commonLabels.release=ours", "monitoring.labels.release=prometheus")
    chosen = {kind: each["metadata"]["labels"]["release"] for (kind, _), each in found.items()}
    assert (chosen["PodMonitor"], chosen["PrometheusRule"], chosen["ConfigMap"]) == ("prometheus", "prometheus", "ours")


def test_a_cluster_may_choose_the_user() -> None:
    pod = pod_of("podSecurityContext.runAsUser=null", "podSecurityContext.runAsGroup=null")["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    bare = pod_of("podSecurityContext=null", "securityContext=null")["spec"]
    assert "securityContext" not in bare
    assert "securityContext" not in bare["containers"][0]


def test_arguments_and_variables_of_ones_own_come_after_ours() -> None:
    values = ("namespaces={a}", "extraArgs={--port=8081}", "extraEnv[0].name=HTTPS_PROXY", "extraEnv[0].value=http://p")
    (container,) = pod_of(*values)["spec"]["containers"]
    assert container["args"][2:] == ["--namespace=a", "--port=8081"]
    assert [each["name"] for each in container["env"]] == ["POD_NAME", "HTTPS_PROXY"]


def test_volumes_of_ones_own_come_beside_ours() -> None:
    bundle = ("extraVolumes[0].name=bundle", "extraVolumes[0].configMap.name=bundle")
    pod = pod_of(*bundle, "extraVolumeMounts[0].name=bundle", "extraVolumeMounts[0].mountPath=/etc/bundle")["spec"]
    assert [each["name"] for each in pod["volumes"]] == ["settings", "bundle"]
    assert pod["containers"][0]["volumeMounts"][1] == {"name": "bundle", "mountPath": "/etc/bundle"}


def test_annotations_reach_what_they_are_about() -> None:
    found = objects("deploymentAnnotations.reload=yes", "monitoring.dashboardAnnotations.grafana_folder=Faces")
    annotated = {key: each["metadata"].get("annotations") for key, each in found.items()}
    assert annotated["Deployment", "arcface-operator"] == {"reload": "yes"}
    assert annotated["ConfigMap", "arcface-operator-dashboard-job"] == {"grafana_folder": "Faces"}
    assert "annotations" not in objects()["Deployment", "arcface-operator"]["metadata"]


def test_pods_are_spread_over_nodes_unless_otherwise_said() -> None:
    own = {"matchLabels": objects()["Deployment", "arcface-operator"]["spec"]["selector"]["matchLabels"]}
    (spread,) = pod_of()["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["labelSelector"]) == ("kubernetes.io/hostname", own)
    zone = "topologySpreadConstraints[0]"
    other = (f"{zone}.topologyKey=zone", f"{zone}.maxSkew=2", f"{zone}.whenUnsatisfiable=DoNotSchedule")
    assert pod_of(*other)["spec"]["topologySpreadConstraints"] == [
        {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": own}
    ]
    assert "topologySpreadConstraints" not in pod_of("topologySpreadConstraints=null")["spec"]
