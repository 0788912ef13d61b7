"""kopf's part: it watches the jobs; handlers take notes only, so that it adds neither finalizers nor annotations."""

from collections.abc import Callable
from typing import Any

import kopf

from arcface_api.names import GROUP, PLURAL, VERSION
from arcface_operator.cluster.jobs import JobStore, key_of_job
from arcface_operator.cluster.reflector import Key


def build_registry(jobs: JobStore, changed: Callable[[Key], None]) -> kopf.OperatorRegistry:
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
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        body: Any = event["object"]
        if event["type"] == "DELETED":
            jobs.forget(body)
        else:
            jobs.see(body)
        changed(key_of_job(body))

    return registry
