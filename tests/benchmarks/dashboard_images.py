"""Images of the dashboards from a real run: `make dashboard-images` (root; about 6 minutes on 2 cores).

The quickstart runs in containers of a real node; the operator and Prometheus run beside it.
"""

import tempfile
import time
from pathlib import Path

import yaml

from arcface_operator.manifests.evaluator_pod import CONTAINER as EVALUATOR
from arcface_operator.manifests.worker_pod import CONTAINER as TRAINER
from support.contact_sheet import draw
from support.processes.operator_process import OperatorProcess, grant_rights, serve_jobs
from support.processes.training_jobs import TrainingJobs
from support.shipped import DASHBOARDS, RULES, SCRAPE
from testbed.images.oci_images import TRAINER_IMAGE, host_python
from testbed.programs.prometheus import Prometheus
from testbed.real_node.node import RealNode, real_cluster

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
FACES = ROOT / "work" / "quickstart-faces"
NAMESPACE = "faces"


def main() -> None:
    """Run the quickstart and draw both dashboards."""
    with tempfile.TemporaryDirectory(prefix="dashboards-") as name, real_cluster(Path(name) / "cluster") as node:
        folder = Path(name)
        serve_jobs(node.plane)
        grant_rights(node.plane)
        settings = {"trainerImage": TRAINER_IMAGE}
        with OperatorProcess(node.plane, folder / "operator", "--no-leader-election", settings=settings) as operator:
            record(node, operator, folder)


def record(node: RealNode, operator: OperatorProcess, folder: Path) -> None:
    """The run, under the eyes of Prometheus."""
    kubeconfig = node.plane.kubeconfig("admin", ["system:masters"])
    exporters = {"arcface-operator-beside-the-cluster": f"127.0.0.1:{operator.port}"}
    with Prometheus(folder / "prometheus", SCRAPE, RULES, kubeconfig, exporters) as prometheus:
        node.plane.kubectl("create", "namespace", NAMESPACE)
        start = time.time()
        status = run_quickstart(node, folder)
        time.sleep(3)  # two scrapes of the end
        assert status["phase"] == "Succeeded", status
        IMAGES.mkdir(exist_ok=True)
        for name, dashboard in DASHBOARDS.items():
            variables = {"namespace": NAMESPACE} | ({"job": "quickstart"} if name == "job" else {})
            draw(dashboard, prometheus, start, time.time(), IMAGES / f"{name}.png", **variables)


def run_quickstart(node: RealNode, folder: Path) -> dict:
    """The example job to its end."""
    jobs = TrainingJobs(node.api, NAMESPACE)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    node.claim(NAMESPACE, "faces", FACES)
    node.claim(NAMESPACE, "checkpoints", checkpoints, volume="local")
    job = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text())
    job["spec"]["workers"]["template"] = host_python(TRAINER)
    job["spec"]["evaluation"]["template"] = host_python(EVALUATOR)
    node.plane.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=yaml.safe_dump(job))
    return jobs.wait_until(lambda status: status.get("phase") in {"Succeeded", "Failed"}, "quickstart", 900)


if __name__ == "__main__":
    main()
