"""Headless Service `<job>`: gives each rank pod a name, and Prometheus the ports."""

from arcface_api.contract.pod_environment import METRICS_PORT, RENDEZVOUS_PORT
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.manifests.metadata import Manifest, build_metadata, worker_selector


def build_service(job: ArcFaceTrainingJob) -> Manifest:
    """The Service; it publishes pods that are not ready, since ranks become ready only after they have met."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_metadata(job, job.metadata.name, "worker"),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": worker_selector(job.metadata.name),
            "ports": [
                {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
                for name, port in ports(job.spec.workers.devices_per_worker).items()
            ],
        },
    }


def ports(ranks_per_pod: int) -> dict[str, int]:
    """Ports of a rank pod by name: /metrics of each of its ranks, and the rendezvous (used in pod 0 only)."""
    metrics = {"metrics" if rank == 0 else f"metrics-{rank}": METRICS_PORT + rank for rank in range(ranks_per_pod)}
    return {**metrics, "rendezvous": RENDEZVOUS_PORT}
