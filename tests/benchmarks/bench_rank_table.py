"""How soon ranks see their rank table: `python bench_rank_table.py`.

On a real kubelet and containerd with the device-plugin emulator, jobs of two pods with four cards each, one after the
other. From the audit log: when the plugin wrote the devices of the last pod, and when the API server had taken the
completed table. From the ranks: when their file said `completed` (the time of a file that they write then).
"""

import sys
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.processes.operator_process import DEFAULTS, USER, OperatorProcess, grant_rights, serve_jobs
from support.processes.training_jobs import TrainingJobs
from testbed.ascend.device_plugin import RESOURCE, DevicePlugin
from testbed.control_plane.cluster import ADMIN
from testbed.control_plane.pods import own_namespace
from testbed.images.oci_images import stand_in_image
from testbed.real_node.node import RealNode, real_cluster, why_impossible

JOBS, PODS, CARDS = 100, 2, 4
PLUGIN_POLL_SECONDS = 0.5
"""The real plugin looks every 5 s; that wait is its own and left out."""
IMAGE = "localhost/waits-for-rank-table:bench"
CHECKPOINTS = "/checkpoints"
STAND_IN = f"""#!/bin/sh
until grep -q '"status":"completed"' "$RANK_TABLE_FILE"; do sleep 0.02; done
touch {CHECKPOINTS}/$POD_NAME
echo '{{"progress":{{"epoch":1,"step":1,"totalSteps":1,"updatedAt":"2026-01-01T00:00:00Z"}}}}' > "$5"
"""


def main() -> None:
    if (reason := why_impossible()) is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name, real_cluster(Path(name), is_audited=True) as node:
        folder = Path(name)
        serve_jobs(node.plane)
        grant_rights(node.plane)
        node.add_image(stand_in_image(IMAGE, folder / "arcface", STAND_IN))
        with (
            OperatorProcess(node.plane, folder / "operator", "--no-leader-election", settings=DEFAULTS) as operator,
            DevicePlugin(node.kubelet_folder, node.api, poll_seconds=PLUGIN_POLL_SECONDS),
        ):
            operator.wait_until_it_leads()
            rows = np.array([measure(node, folder, number) for number in range(JOBS)])
    print(f"{JOBS} jobs of {PODS} pods with {CARDS} cards; the plugin's own poll (5 s on Ascend nodes) is not in it")
    columns = ("devices known -> table completed", "table -> first rank", "table -> last rank")
    for title, seconds in zip(columns, rows.T, strict=True):
        median, slowest = np.quantile(seconds, (0.5, 0.99))
        print(f"{title:34} p50 {median:5.2f} s, p99 {slowest:5.2f} s, max {seconds.max():5.2f} s")


def measure(node: RealNode, folder: Path, number: int) -> tuple[float, float, float]:
    """Seconds from devices to table, from table to the first and to the last rank, of one job."""
    since = node.plane.audit_log.size()
    with own_namespace(node.api, f"bench-{number}") as pods:
        checkpoints = folder / str(number)
        checkpoints.mkdir(mode=0o777)
        node.claim(pods.namespace, "faces", folder)
        node.claim(pods.namespace, "checkpoints", checkpoints, volume="local")
        jobs = TrainingJobs(node.api, pods.namespace)
        jobs.create(
            image=IMAGE,
            imagePullPolicy="Never",
            workers={"accelerator": "ascend", "replicas": PODS, "devicesPerWorker": CARDS, "resourceName": RESOURCE},
            training={"precision": "fp32"},
        )
        jobs.wait_for("Succeeded", seconds=120)
    seen = sorted(path.stat().st_mtime for path in checkpoints.iterdir())
    made = [found for found in node.plane.audit(since) if found["namespace"] == f"bench-{number}"]
    annotated = max(times(made, ADMIN, "pods")[:PODS])
    # The table is created empty, completed once, and never taken back while the ranks wait for it.
    completed = times(made, USER, "configmaps")[0]
    return completed - annotated, seen[0] - completed, seen[-1] - completed


def times(made: list[dict], user: str, resource: str) -> list[float]:
    """When a user's patches of a kind were answered."""
    found = [request for request in made if (request["user"], request["resource"]) == (user, resource)]
    return [datetime.fromisoformat(request["at"]).timestamp() for request in found if request["verb"] == "patch"]


if __name__ == "__main__":
    main()
