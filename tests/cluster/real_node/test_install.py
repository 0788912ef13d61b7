"""A platform team's days: Helm installs the release before, upgrades it, takes that back, and installs another beside.

Jobs go on through all of it, and through the removal of the release that they belong to or of the other one. The
operator runs in the image that its Dockerfile makes, with the chart's own ServiceAccount and roles, in a namespace
that enforces the restricted Pod Security level. The ranks are played by shell scripts.
"""

import json
import logging
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.processes.release import PREVIOUS
from support.processes.training_jobs import CHECKPOINT, TrainingJobs
from support.waiting import wait_until
from testbed.control_plane.pods import Pods, own_namespace
from testbed.images.builder import image_builder
from testbed.images.oci_images import stand_in_image
from testbed.programs.commands import TestbedError
from testbed.programs.helm import Helm
from testbed.real_node.node import RealNode

pytestmark = pytest.mark.real_node
LOG = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[3]
NAMESPACE, ACCOUNT = "arcface-system", "arcface-operator"
IMAGE_BEFORE = "localhost/arcface-operator:before"
CHART_BEFORE = PREVIOUS[0].with_name("chart.tgz")
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
    """A release, and how long it took to be ready."""

    def __init__(self, node: RealNode, namespace: str, name: str = ACCOUNT) -> None:
        self.node, self.namespace = node, namespace
        self.helm = Helm(node.plane.kubeconfig(), namespace, name)
        self.before = Helm(node.plane.kubeconfig(), namespace, name, CHART_BEFORE)
        node.plane.kubectl("create", "namespace", namespace)
        node.plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        self.seconds = 0.0

    def install(self, helm: Helm, folder: Path, *options: str, tag: str = "test") -> None:
        """Install a chart with values for this node, which has no registry and does not account for disks."""
        image = {"repository": "localhost/arcface-operator", "tag": tag, "pullPolicy": "Never"}
        no_disk = {"ephemeral-storage": None}
        values = {"image": image, "trainer": {"repository": "localhost/rank", "tag": "test"}}
        path = folder / f"{self.namespace}.yaml"
        path.write_text(yaml.safe_dump({**values, "resources": {"requests": no_disk, "limits": no_disk}}))
        began = time.monotonic()
        try:
            helm.install(path, *options)
        except TestbedError as error:
            chosen = ["-n", self.namespace, "--selector=app.kubernetes.io/name=arcface-operator"]
            raise AssertionError(self.kubectl("logs", *chosen) + self.kubectl("describe", "pods", *chosen)) from error
        self.seconds = time.monotonic() - began

    def kubectl(self, *arguments: str) -> str:
        """Standard output of kubectl."""
        return self.node.plane.kubectl(*arguments)

    def pods(self) -> dict[str, str]:
        """Uids of the operator's pods by their names."""
        found = json.loads(self.kubectl("get", "pods", "-n", self.namespace, "-o", "json"))["items"]
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}


@pytest.fixture(scope="module")
def release(bare_node: RealNode, operator_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release before, as it was installed."""
    folder = tmp_path_factory.mktemp("release")
    for wheel in PREVIOUS:
        if wheel.name.startswith(("arcface_api", "arcface_operator")):
            zipfile.ZipFile(wheel).extractall(folder / "packages")
    with image_builder() as builder:
        builder.put_before(operator_image, folder / "packages", IMAGE_BEFORE)
        bare_node.import_image(builder.export(IMAGE_BEFORE, folder / "operator.tar"))
    bare_node.add_image(stand_in_image(RANK_IMAGE, folder / "arcface", RANK % json.dumps(TRAINED)))
    made = Release(bare_node, NAMESPACE)
    made.install(made.before, folder, tag="before")
    yield made
    if made.pods():
        made.helm.uninstall()


@pytest.fixture
def jobs(release: Release, pods: Pods, tmp_path: Path) -> TrainingJobs:
    return jobs_of(release, pods, tmp_path)


def jobs_of(release: Release, pods: Pods, folder: Path) -> TrainingJobs:
    """Jobs of a namespace that enforces the restricted level, with their claims."""
    release.kubectl("label", "namespace", pods.namespace, "pod-security.kubernetes.io/enforce=restricted")
    for claim in ("faces", "checkpoints"):
        (folder / claim).mkdir()
        release.node.claim(pods.namespace, claim, folder / claim, volume="local")
    return TrainingJobs(release.node.api, pods.namespace)


def test_a_job_runs_on_while_its_release_is_upgraded(release: Release, jobs: TrainingJobs, tmp_path: Path) -> None:
    created_at = time.monotonic()
    ranks = begin(jobs)
    seconds = time.monotonic() - created_at
    LOG.info(
        "helm install took %.1f s until the operator was ready, a job %.1f s to its pods", release.seconds, seconds
    )
    before = release.pods()
    release.helm.upgrade("image.tag=test")
    assert_pods_changed(release, before)
    assert uids(jobs) == ranks
    assert "Succeeded" in release.helm.test()
    assert not jobs_in(release, NAMESPACE)
    end(jobs, tmp_path / "checkpoints")


def begin(jobs: TrainingJobs) -> dict[str, str]:
    """A job whose ranks run."""
    jobs.create(workers={"replicas": 2})
    jobs.wait_until(lambda status: status.get("workers", {}).get("ready") == 2, seconds=60)
    return uids(jobs)


def end(jobs: TrainingJobs, checkpoints: Path) -> None:
    """The ranks have done it; nothing of what befell their operator has touched them."""
    (checkpoints / "enough").touch()
    status = jobs.wait_for("Succeeded", seconds=90)
    assert (status["restarts"], status["attempt"], status["progress"]["step"]) == (0, 0, 10)


def uids(jobs: TrainingJobs) -> dict[str, str]:
    """Which pods of a job are there."""
    return {name: pod["metadata"]["uid"] for name, pod in jobs.pods().items()}


def jobs_in(release: Release, namespace: str) -> list[str]:
    """Names of the jobs of a namespace."""
    return release.kubectl("get", "arcfacejobs", "-n", namespace, "--output=name").split()


def assert_pods_changed(release: Release, before: dict[str, str]) -> None:
    """The two replicas are others than before."""
    assert len(before) == 2
    wait_until(lambda: len(release.pods()) == 2, seconds=60)
    assert not set(release.pods().values()) & set(before.values())


def test_one_replica_acts(release: Release) -> None:
    lease = json.loads(release.kubectl("get", "lease", "-n", NAMESPACE, "arcface-operator", "-o", "json"))
    assert lease["spec"]["holderIdentity"] in release.pods()


def test_the_account_may_do_what_its_rules_say_and_nothing_else(release: Release) -> None:
    release.kubectl("create", "serviceaccount", "bare", "-n", NAMESPACE)
    allowed, common = (rights(release, account) for account in (ACCOUNT, "bare"))
    release.kubectl("delete", "serviceaccount", "bare", "-n", NAMESPACE)
    rules = yaml.safe_load((ROOT / "operator/src/arcface_operator/kubernetes/rbac.yaml").read_text())
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


def test_a_release_goes_back_and_goes_while_jobs_of_two_run_on(
    release: Release, jobs: TrainingJobs, tmp_path: Path
) -> None:
    """Several releases share the resource, which then is none's (docs/install.md)."""
    ranks, before = begin(jobs), release.pods()
    release.helm.rollback(1)
    assert_pods_changed(release, before)
    assert image_of(release) == IMAGE_BEFORE
    assert uids(jobs) == ranks
    release.helm.upgrade("image.tag=test", "crds.enabled=false", f"namespaces={{{jobs.namespace}}}")
    release.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    other = Release(release.node, "other-system", "other")
    with own_namespace(release.node.api, "others-jobs") as pods:
        (tmp_path / "others").mkdir()
        others = jobs_of(release, pods, tmp_path / "others")
        options = [f"--set=namespaces={{{pods.namespace}}}", "--set=crds.enabled=false", "--set=replicas=1"]
        other.install(other.helm, tmp_path, *options)
        others_ranks = begin(others)
        release.helm.uninstall()
        wait_until(lambda: not release.pods(), seconds=60)
        assert what_is_left(release) == ["customresourcedefinition.apiextensions.k8s.io/arcfacetrainingjobs.arcface.io"]
        assert (uids(jobs), uids(others)) == (ranks, others_ranks)
        end(others, tmp_path / "others" / "checkpoints")
        other.helm.uninstall()
        assert uids(jobs) == ranks
    jobs.create("later")
    assert jobs.exists("later")


def image_of(release: Release) -> str:
    """Image of the operator."""
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    return release.kubectl("get", "deployment", "-n", release.namespace, release.helm.release, f"--output={path}")


def what_is_left(release: Release) -> list[str]:
    """All objects with the release's label."""
    kinds = release.kubectl("api-resources", "--verbs=list,delete", "--output=name").split()
    selector = f"--selector=app.kubernetes.io/instance={release.helm.release}"
    return release.kubectl("get", ",".join(kinds), "--all-namespaces", selector, "--output=name").split()
