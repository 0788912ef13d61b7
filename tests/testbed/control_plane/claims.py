"""Claims for pods of fake nodes: bound, usable from every node, with nothing behind them."""

from collections.abc import Sequence

import httpx

from support.waiting import wait_until
from testbed.control_plane.api_answers import answer

SIZE = {"storage": "1Ti"}


def bind_empty_claim(
    api: httpx.Client,
    namespace: str,
    name: str,
    access_modes: Sequence[str] = ("ReadWriteMany",),
    seconds: float = 60.0,
) -> None:
    """Make a volume without content and a claim on it, and wait until they are bound."""
    volume = f"{namespace}-{name}"
    shared = {"accessModes": list(access_modes), "storageClassName": ""}
    behind = {
        "capacity": SIZE,
        "claimRef": {"namespace": namespace, "name": name},
        "csi": {"driver": "nothing.test", "volumeHandle": volume},
    }
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    answer(api.post("/api/v1/persistentvolumes", json={"metadata": {"name": volume}, "spec": shared | behind}))
    spec = shared | {"resources": {"requests": SIZE}, "volumeName": volume}
    answer(api.post(claims, json={"metadata": {"name": name}, "spec": spec}))
    wait_until(lambda: answer(api.get(f"{claims}/{name}"))["status"].get("phase") == "Bound", seconds)
