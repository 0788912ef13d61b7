"""The first ten minutes of a platform team: Helm installs the chart on a real node, a job runs, the chart goes again.

The operator runs in the image that its Dockerfile makes, with the chart's own ServiceAccount and roles, in a namespace
that enforces the restricted Pod Security level. The ranks are played by shell scripts.
"""

import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.processes.training_jobs import CHECKPOINT, TrainingJobs
from support.waiting import wait_until
from testbed.control_plane.pods import Pods
from testbed.images.builder import image_builder
from testbed.images.oci_images import BUSYBOX, Image, applets
from testbed.programs.commands import TestbedError
from testbed.programs.helm import Helm
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node
LOG = logging.getLogger(__name__)
NAMESPACE, ACCOUNT = "arcface-system", "arcface-operator"
OPERATOR_IMAGE = "localhost/arcface-operator:test"
RANK_IMAGE = "localhost/rank:test"
RANK = """#!/bin/sh
# Plays `arcface train --config C --termination-log L`: trains until a file says that it is enough.
until [ -e /checkpoints/enough ]; do sleep 0.1; done
echo '%s' > "$5"
"""
TRAINED = {
    "progress": {"epoch": 1, "step": 10, "totalSteps": 10, "updatedAt": "2026-01-01T00:00:00Z"},
    "checkpoint": {**CHECKPOINT, "step": 10},
}


class Release:
    """The release, its values and how long its first job took."""

    def __init__(self, node: RealNode, helm: Helm, folder: Path) -> None:
        self.node = node
        self.helm = helm
        self.folder = folder
        self.installed_at = self.ready_at = 0.0

    def values(self) -> Path:
        """Values for this node, which has no registry and does not account for disks."""
        image = {"repository": "localhost/arcface-operator", "tag": "test", "pullPolicy": "Never"}
        path = self.folder / "values.yaml"
        trainer = {"repository": "localhost/rank", "tag": "test"}
        no_disk = {"ephemeral-storage": None}
        resources = {"requests": no_disk, "limits": no_disk}
        path.write_text(yaml.safe_dump({"image": image, "trainer": trainer, "resources": resources}))
        return path

    def kubectl(self, *arguments: str) -> str:
        """Standard output of kubectl."""
        return self.node.plane.kubectl(*arguments)

    def pods(self) -> dict[str, str]:
        """Uids of the operator's pods by their names."""
        found = json.loads(self.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}


@pytest.fixture(scope="module")
def release(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    folder = tmp_path_factory.mktemp("release")
    with image_builder() as builder:
        builder.build("Dockerfile.operator", OPERATOR_IMAGE)
        node.import_image(builder.export(OPERATOR_IMAGE, folder / "operator.tar"))
    node.add_image(rank_image(folder / "arcface"))
    forget_others(node)
    node.plane.kubectl("create", "namespace", NAMESPACE)
    node.plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    made = Release(node, Helm(node.plane.kubeconfig(), NAMESPACE), folder)
    made.installed_at = time.monotonic()
    try:
        made.helm.install(made.values())
    except TestbedError as error:
        chosen = ["-n", NAMESPACE, "--selector=app.kubernetes.io/name=arcface-operator"]
        raise AssertionError(made.kubectl("logs", *chosen) + made.kubectl("describe", "pods", *chosen)) from error
    made.ready_at = time.monotonic()
    yield made
    if made.pods():
        made.helm.uninstall()


def forget_others(node: RealNode) -> None:
    """Remove what other tests have installed without Helm."""
    names = [f"namespace/{NAMESPACE}", f"clusterrole/{ACCOUNT}", f"clusterrolebinding/{ACCOUNT}"]
    for name in (*names, "crd/arcfacetrainingjobs.arcface.io"):
        node.plane.kubectl("delete", name, "--ignore-not-found", "--timeout=60s")


def rank_image(script: Path) -> Image:
    """Busybox with an `arcface` that plays the trainer."""
    script.write_text(RANK % json.dumps(TRAINED))
    programs = {"bin/busybox": BUSYBOX, "bin/arcface": script}
    return Image(RANK_IMAGE, {"User": "1000:1000", "Env": ["PATH=/bin"]}, programs, applets("bin"), {"tmp": 0o1777})


@pytest.fixture
def jobs(release: Release, pods: Pods, tmp_path: Path) -> TrainingJobs:
    release.kubectl("label", "namespace", pods.namespace, "pod-security.kubernetes.io/enforce=restricted")
    for claim in ("faces", "checkpoints"):
        (tmp_path / claim).mkdir()
        release.node.claim(pods.namespace, claim, tmp_path / claim, volume="local")
    return TrainingJobs(release.node.api, pods.namespace)


def test_a_job_runs_and_an_upgrade_meanwhile_loses_nothing(
    release: Release, jobs: TrainingJobs, tmp_path: Path
) -> None:
    created_at = time.monotonic()
    jobs.create(workers={"replicas": 2})
    jobs.wait_until(lambda status: status.get("workers", {}).get("ready") == 2, seconds=60)
    LOG.info(
        "helm install took %.1f s until the operator was ready, a job %.1f s until its pods ran",
        release.ready_at - release.installed_at,
        time.monotonic() - created_at,
    )
    ranks = {name: pod["metadata"]["uid"] for name, pod in jobs.pods().items()}
    operators = release.pods()
    assert len(operators) == 2
    release.helm.upgrade("settings.progressSeconds=1")
    wait_until(lambda: len(release.pods()) == 2, seconds=60)
    assert not set(release.pods().values()) & set(operators.values())
    assert {name: pod["metadata"]["uid"] for name, pod in jobs.pods().items()} == ranks
    (tmp_path / "checkpoints" / "enough").touch()
    status = jobs.wait_for("Succeeded", seconds=90)
    assert status["restarts"] == 0
    assert status["progress"]["step"] == 10


def test_one_replica_acts(release: Release) -> None:
    lease = json.loads(release.kubectl("get", "lease", "-n", NAMESPACE, "arcface-operator", "-o", "json"))
    assert lease["spec"]["holderIdentity"] in release.pods()


def test_the_account_may_do_what_its_rules_say_and_nothing_else(release: Release) -> None:
    release.kubectl("create", "serviceaccount", "bare", "-n", NAMESPACE)
    allowed, common = (rights(release, account) for account in (ACCOUNT, "bare"))
    release.kubectl("delete", "serviceaccount", "bare", "-n", NAMESPACE)
    rules = yaml.safe_load(
        (Path(__file__).parents[3] / "operator/src/arcface_operator/kubernetes/rbac.yaml").read_text()
    )
    wanted = {
        (named(resource, group), verb)
        for part in rules.values()
        for rule in part
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed - common == wanted


def named(resource: str, group: str) -> str:
    """A resource as kubectl writes it: the group comes before the part."""
    kind, slash, part = resource.partition("/")
    return (f"{kind}.{group}" if group else kind) + slash + part


def rights(release: Release, account: str) -> set[tuple[str, str]]:
    """Resource and verb of each line of `kubectl auth can-i --list` in the operator's namespace."""
    user = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
    groups = ["--as-group=system:serviceaccounts", "--as-group=system:authenticated"]
    lines = release.kubectl("auth", "can-i", "--list", "-n", NAMESPACE, user, *groups).splitlines()[1:]
    found = set()
    for line in lines:
        name, _, rest = line.partition(" ")
        verbs = re.findall(r"\[([^\]]*)\]", rest)[-1].split()
        found |= {(name, verb) for verb in verbs}
    return found


def test_uninstalling_leaves_the_resource_and_nothing_else(release: Release, jobs: TrainingJobs) -> None:
    release.helm.uninstall()
    wait_until(lambda: not release.pods(), seconds=60)
    kinds = release.kubectl("api-resources", "--verbs=list,delete", "--output=name").split()
    selector = "--selector=app.kubernetes.io/instance=arcface-operator"
    left = release.kubectl("get", ",".join(kinds), "--all-namespaces", selector, "--output=name").split()
    assert left == ["customresourcedefinition.apiextensions.k8s.io/arcfacetrainingjobs.arcface.io"]
    jobs.create("later")
    assert jobs.exists("later")
