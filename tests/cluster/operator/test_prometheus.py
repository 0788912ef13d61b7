"""A real Prometheus finds operator and ranks through the API server, and every shipped expression gives data."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from arcface_api.contract.reports import EvaluatorReport, TrainerReport
from support.fakes.served_ranks import ServedRanks
from support.processes.operator_process import NAMESPACE, OperatorProcess, bound
from support.processes.training_jobs import CHECKPOINT, LIVE, TrainingJobs, goes_well
from support.shipped import DASHBOARDS, RULES, SCRAPE, alerts, expressions, filled_in
from support.waiting import wait_until
from testbed.ascend.npu_exporter import NpuExporter
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.fake_nodes.scripts import Ending, Script
from testbed.programs.binaries import binary
from testbed.programs.prometheus import RATE_INTERVAL, Prometheus

ASCEND = {"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 2}
LIVE_REPORT = TrainerReport.from_json(json.dumps({**LIVE, "checkpoint": CHECKPOINT}), "live report")
SETS = {"claimName": "faces", "sets": ["lfw"], "ijb": ["IJBC"], "gates": [{"metric": "lfw.accuracy", "min": 0.999}]}
JUDGED = EvaluatorReport.model_validate(
    {
        "checkpoint": "step-00001400",
        "results": [{"dataset": "lfw", "accuracy": 0.998, "std": 0.003, "pairs": 6000}],
        "ijb": [{"dataset": "IJBC", "tarAtFar": {"1e-4": 0.9587}}],
    }
)
SCRAPER = "system:serviceaccount:monitoring:prometheus"


class Watched:
    """Prometheus, and the namespace with a job that trains, one that has missed its gate and one without its claim."""

    def __init__(self, prometheus: Prometheus, namespace: str, operator: OperatorProcess) -> None:
        self.prometheus = prometheus
        self.namespace = namespace
        self.operator = operator

    def gives(self, expression: str, job: str) -> bool:
        """Whether an expression of a dashboard gives data."""
        filled = filled_in(expression, RATE_INTERVAL, namespace=self.namespace, job=job)
        return bool(self.prometheus.query(filled))


@pytest.fixture(scope="module")
def watched(
    plane: ControlPlane, api: httpx.Client, all_fake_nodes: FakeNodes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    namespace = "watched"
    plane.kubectl("create", "namespace", namespace)
    jobs = TrainingJobs(api, namespace)
    jobs.bind_claims()
    everywhere = ("--no-leader-election", "--address", "0.0.0.0")
    exporter = NpuExporter(namespace, [f"trains-worker-{index}" for index in range(2)], cards=2)
    with OperatorProcess(plane, folder / "operator", *everywhere) as operator, exporter:
        operator.wait_until_it_leads()
        stand_in_for_the_operators_pod(plane, all_fake_nodes, operator.port)
        all_fake_nodes.play(namespace, goes_well(Script(runs=0.0, ending=Ending(message=JUDGED))))
        jobs.create("judged", workers={"replicas": 1}, evaluation=SETS)
        jobs.wait_for("Failed", "judged")
        all_fake_nodes.play(namespace, Script())
        jobs.create("trains", workers=ASCEND, training={"precision": "fp32"})
        jobs.wait_until(lambda status: status.get("workers", {}).get("ready") == 2, "trains")
        pods = jobs.pods()
        addresses = [pods[f"trains-worker-{index}"]["status"]["podIP"] for index in range(2)]
        with (
            ServedRanks(addresses, 2, LIVE_REPORT),
            Prometheus(
                folder / "prometheus", SCRAPE, RULES, scraper(plane), {"npu-exporter": exporter.target}
            ) as found,
        ):
            jobs.create("waits", data={"claimName": "missing"})
            jobs.wait_for("Pending", "waits")
            jobs.wait_for("Training", "trains")
            wait_until(lambda: sum(target["health"] == "up" for target in found.targets()) == 6, seconds=30)
            yield Watched(found, namespace, operator)
    plane.kubectl("delete", "namespace", namespace, "--wait=false")


def scraper(plane: ControlPlane) -> Path:
    """Credentials that may look for pods and nothing else."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    role, binding = bound("ClusterRole", "scraper", {}, rules)
    binding["subjects"] = [{"kind": "User", "name": SCRAPER, "apiGroup": "rbac.authorization.k8s.io"}]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([role, binding]))
    return plane.kubeconfig(SCRAPER, ["system:authenticated"])


def stand_in_for_the_operators_pod(plane: ControlPlane, nodes: FakeNodes, port: int) -> None:
    """A pod as the chart makes it; at its address listens the operator that runs beside the cluster."""
    nodes.play(NAMESPACE, Script())
    container = {"name": "operator", "image": "none", "ports": [{"name": "metrics", "containerPort": port}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "arcface-operator",
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": "arcface-operator"},
        },
        "spec": {"containers": [container]},
    }
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(pod))


def test_every_rank_and_the_operator_are_found(watched: Watched) -> None:
    targets = watched.prometheus.targets()
    ranks = [target["labels"] for target in targets if target["labels"]["job"] == "arcface-ranks"]
    assert sorted((label["pod"], label["instance"].rpartition(":")[2]) for label in ranks) == [
        (f"trains-worker-{index}", str(9400 + local)) for index in range(2) for local in range(2)
    ]
    assert {(label["namespace"], label["arcface_io_job"]) for label in ranks} == {(watched.namespace, "trains")}
    (phase,) = watched.prometheus.query('arcface_job_phase{name="judged"} == 1')
    assert (phase["metric"]["namespace"], phase["metric"]["phase"]) == (watched.namespace, "Failed")
    (leader,) = watched.prometheus.query("arcface_operator_is_leader")
    assert leader["metric"]["namespace"] == NAMESPACE


@pytest.mark.parametrize(
    ("title", "expression"), [query for name in ("job", "fleet") for query in expressions(DASHBOARDS[name])]
)
def test_every_panel_has_data(watched: Watched, title: str, expression: str) -> None:
    job = "judged" if "arcface_job_evaluation_tar" in expression else "trains"
    wait_until(lambda: watched.gives(expression, job), seconds=20)


def test_every_alert_is_evaluated_on_series_that_are_there(watched: Watched) -> None:
    def rules() -> dict[str, Any]:
        return {rule["name"]: rule for rule in watched.prometheus.rules()}

    wait_until(lambda: all(rule["health"] == "ok" for rule in rules().values()), seconds=20)
    assert set(rules()) == {rule["alert"] for rule in alerts()}
    for rule in alerts():
        for selector in re.findall(r"arcface_\w+(?:\{[^}]*\})?", rule["expr"]):
            if selector not in {"arcface_io_job"}:
                plain = re.sub(r"\{ *(reason|phase)[^}]*\}", "", selector)  # those that no job is in now
                assert watched.prometheus.query(f"last_over_time({plain}[1m])"), (rule["alert"], selector)


def test_the_gate_that_was_missed_fires(watched: Watched) -> None:
    wait_until(lambda: firing(watched, "ArcFaceGateFailed"), seconds=20)
    (labels,) = firing(watched, "ArcFaceGateFailed")
    assert (labels["name"], labels["metric"]) == ("judged", "lfw.accuracy")
    assert firing(watched, "ArcFaceJobFailed") == []


def firing(watched: Watched, alert: str) -> list[dict[str, str]]:
    found = watched.prometheus.query(f'ALERTS{{alertname="{alert}",alertstate="firing"}}')
    return [series["metric"] for series in found]


def test_a_restart_is_an_annotation(watched: Watched, api: httpx.Client) -> None:
    (annotation,) = [each["expr"] for each in DASHBOARDS["job"]["annotations"]["list"]]
    jobs = TrainingJobs(api, watched.namespace)
    answer(api.delete(f"/api/v1/namespaces/{watched.namespace}/pods/trains-worker-1"))
    jobs.wait_until(lambda status: status.get("restarts") == 1, "trains")
    wait_until(lambda: watched.gives(annotation, "trains"), seconds=20)


def test_what_is_served_is_clean_by_promtools_measure(watched: Watched) -> None:
    checked = subprocess.run(
        [binary("promtool"), "check", "metrics"],
        input=watched.operator.metrics(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
