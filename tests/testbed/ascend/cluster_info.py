"""What MindX' clusterd tells of the cards of a cluster: the ConfigMap `cluster-info-device-0` in `mindx-dl`.

The form is that of mind-cluster's documentation ("Cluster Resources", releases 6.0 to 26.1): for each node the lists of
its device plugin, in which `<resource>-Fault` is JSON once more.
"""

import json
import threading
import time

import httpx

from testbed.control_plane.api_answers import answer

NAMESPACE, NAME, RESOURCE = "mindx-dl", "cluster-info-device-0", "huawei.com/Ascend910"
APPLY = {"Content-Type": "application/apply-patch+yaml"}
CODE, LEVEL = "80E18402", "RestartNPU"
"""A fault of the memory of a card, and what MindX does about it."""


class ClusterInfo:
    """Faults of cards, told from the first one on."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api
        self.faulty: dict[str, list[str]] = {}
        """Cards by node."""
        self.turn = threading.Lock()

    def tell(self, node: str, card: str) -> None:
        """A card of a node is faulty from now on."""
        with self.turn:
            self.faulty.setdefault(node, []).append(card)
            self._write()

    def mend(self, node: str, card: str) -> None:
        """It is no longer."""
        with self.turn:
            self.faulty[node].remove(card)
            self._write()

    def _write(self) -> None:
        spaces = "/api/v1/namespaces"
        metadata = {"metadata": {"name": NAMESPACE}}
        options = {"params": {"fieldManager": "clusterd", "force": "true"}, "headers": APPLY}
        space = {"apiVersion": "v1", "kind": "Namespace", **metadata}
        answer(self.api.patch(f"{spaces}/{NAMESPACE}", content=json.dumps(space), **options))
        told = {f"mindx-dl-deviceinfo-{node}": _cards(node, cards) for node, cards in self.faulty.items()}
        data = {"metadata": {"name": NAME}, "data": {NAME: json.dumps(told)}}
        content = {"apiVersion": "v1", "kind": "ConfigMap", **data}
        answer(self.api.patch(f"{spaces}/{NAMESPACE}/configmaps/{NAME}", content=json.dumps(content), **options))


def _cards(node: str, cards: list[str]) -> dict[str, object]:
    """The part of a node."""
    faults = [
        {
            "fault_type": "CardUnhealthy",
            "npu_name": card,
            "large_model_fault_level": LEVEL,
            "fault_level": LEVEL,
            "fault_handling": LEVEL,
            "fault_code": CODE,
        }
        for card in cards
    ]
    listed = {f"{RESOURCE}-Unhealthy": ",".join(cards), f"{RESOURCE}-NetworkUnhealthy": ""}
    device_list = {RESOURCE: "", **listed, f"{RESOURCE}-Fault": json.dumps(faults)}
    place = {"CmName": f"mindx-dl-deviceinfo-{node}", "SuperPodID": -2, "ServerIndex": -2}
    return {"DeviceList": device_list, "UpdateTime": int(time.time()), **place}
