"""kopf's part: it watches the jobs; handlers take notes only, so that it adds neither finalizers nor annotations."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import kopf

from arcface_api.names import GROUP, PLURAL, VERSION
from arcface_operator.controller.jobs import JobStore
from arcface_operator.kubernetes.client import JobRef


async def watch_jobs(
    jobs: JobStore, changed: Callable[[JobRef], None], identity: str, namespaces: Sequence[str]
) -> None:
    """Run kopf, which takes over the signals while it runs and returns when one comes.

    Args:
        jobs: where the newest manifests go.
        changed: called for each job that may have changed.
        identity: of this replica; kopf would name itself after its user, who has no name in a container.
        namespaces: where to look; empty: everywhere.
    """
    await kopf.operator(
        registry=_build_registry(jobs, changed),
        standalone=True,
        identity=cast("Any", identity),
        clusterwide=not namespaces,
        namespaces=list(namespaces),
    )


def _build_registry(jobs: JobStore, changed: Callable[[JobRef], None]) -> kopf.OperatorRegistry:
    """Handlers of the operator."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        # Watching namespaces and definitions would need rights beyond our own resource.
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.networking.request_timeout = 30
        settings.watching.connect_timeout = 30
        settings.watching.server_timeout = 300
        settings.watching.client_timeout = 330
        settings.queueing.idle_timeout = 1

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        of_pod = kopf.login_with_service_account(**kwargs)
        return kopf.login_with_kubeconfig(**kwargs) if of_pod is None else replace(of_pod, server=_own_api_server())

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def take_note(event: kopf.RawEvent, **_: Any) -> None:
        body: Any = event["object"]
        if event["type"] == "DELETED":
            jobs.delete(body)
        else:
            jobs.upsert(body)
        changed(JobRef.of(body))

    return registry


def _own_api_server() -> str:
    """Where a pod finds the API server without a name: that would need the cluster's DNS."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
