"""Who the operator is to the API server: its pod's ServiceAccount or, outside of pods, the user of the kubeconfig."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, kube_config, load_incluster_config, load_kube_config

from arcface_api.errors import InvalidInput, explained

OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
REMEDY = "set KUBECONFIG or run in a pod"


def own_namespace() -> str:
    """Namespace of the operator's pod, or the one that a developer's machine stands in for."""
    with explained(OWN_NAMESPACE, "cannot be read", "run in a pod with a ServiceAccount"):
        if OWN_NAMESPACE.is_file():
            return OWN_NAMESPACE.read_text().strip()
    return os.environ.get("POD_NAMESPACE", "default")


@asynccontextmanager
async def open_client() -> AsyncIterator[ApiClient]:
    """A client of the API server.

    Raises:
        InvalidInput: where there are no credentials.
        ArcFaceError: where they could not be read just now.
    """
    # With trust_env every request would look for a .netrc, in a thread of its own. Each watch keeps a connection for
    # itself: with the client's 100 those of 20 namespaces leave none to ask on. Requests are bounded by `Api`.
    configuration = Configuration(client_session_kwargs={"trust_env": False}, connection_pool_maxsize=0)
    of_pod: Any = load_incluster_config
    try:
        with explained("credentials of the API server", "cannot be read", REMEDY):
            if "KUBERNETES_SERVICE_HOST" in os.environ and OWN_NAMESPACE.is_file():
                of_pod(client_configuration=configuration)
            else:
                await _load_kubeconfig(configuration)
    except ConfigException as error:
        raise InvalidInput(f"no way to the API server: {error}; {REMEDY}") from None
    async with ApiClient(configuration) as client:
        yield client


async def _load_kubeconfig(configuration: Configuration) -> None:
    """Be its user. The client itself would log that there is none, and take any YAML for one."""
    paths: Any = kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    of_user: Any = load_kube_config
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path):
        raise InvalidInput(f"no way to the API server: {paths}: is not there; {REMEDY}")
    try:
        await of_user(client_configuration=configuration)
    except (yaml.YAMLError, TypeError, AttributeError, LookupError, ValueError) as error:
        told = " ".join(str(error).split())
        raise InvalidInput(f"no way to the API server: {paths}: is no kubeconfig ({told}); {REMEDY}") from None
