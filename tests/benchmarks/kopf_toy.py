"""The least that could be called an operator: creates a job's pods when the job appears, and does nothing else.

They are the very pods that the operator makes, through the same client, so that the rest makes the difference. The
floor that `bench_operator.py` compares with; run as `kopf_toy.py` with KUBECONFIG set.
"""

import asyncio
from typing import Any

import kopf
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config

from arcface_operator.controller.jobs import parse_job
from arcface_operator.kubernetes.client import Api
from arcface_operator.manifests.worker_pod import build_worker_pod
from arcface_operator.settings import Settings

REGISTRY = kopf.OperatorRegistry()
SETTINGS = Settings()
CLIENT: list[Api] = []


@kopf.on.startup(registry=REGISTRY)
async def open_client(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True
    configuration = Configuration()
    await load_kube_config(client_configuration=configuration)
    CLIENT.append(Api(ApiClient(configuration)))


@kopf.on.login(registry=REGISTRY)
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_kubeconfig(**kwargs)


@kopf.on.create("arcface.io", "v1alpha1", "arcfacetrainingjobs", registry=REGISTRY)
async def create_pods(body: kopf.Body, **_: Any) -> None:
    job = parse_job({**body, "status": {}})
    pods = (build_worker_pod(job, index, 0, SETTINGS) for index in range(job.spec.workers.replicas))
    await asyncio.gather(*(CLIENT[0].create(pod) for pod in pods))


if __name__ == "__main__":
    kopf.run(registry=REGISTRY, standalone=True, clusterwide=True)
