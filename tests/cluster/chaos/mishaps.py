"""What befalls pods and what they hold, as kubelets, schedulers, MindX and people do it."""

import json
from collections.abc import Callable

from cluster.chaos import draw
from cluster.chaos.account import TABLE, TABLE_KEY
from cluster.chaos.stage import Stage
from support.processes import training_jobs as played
from testbed.ascend.annotations import CONFIGURATION, device_name
from testbed.control_plane.api_answers import answer
from testbed.control_plane.api_client import MERGE, STRATEGIC
from testbed.fake_nodes.scripts import Ending

PREEMPTION = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "made room"}


class PodMishaps:
    """Those of one namespace."""

    def __init__(self, stage: Stage, jobs: played.TrainingJobs) -> None:
        self.stage, self.jobs = stage, jobs
        self.faulty: list[tuple[str, str]] = []
        """Nodes and cards that are called faulty."""
        self.room: tuple[str, list[str]] = ("", [])
        """Label of the nodes that are the story's alone, and these."""

    def give_room(self, label: str, pods: int, seed: int) -> None:
        """So many nodes are the story's, others' too."""
        names = self.stage.nodes.names
        self.room = label, [names[(seed + number) % len(names)] for number in range(pods)]
        for node in self.room[1]:
            self._label(node, label, "yes")

    def lose_room(self, name: str) -> Callable[[], None]:
        """A pod is evicted, and its node takes it no more; what gives the room back."""
        node, label = self.stage.nodes.pod(self.jobs.namespace, name).node.name, self.room[0]
        self._label(node, label, None)
        self.stage.nodes.evict(self.jobs.namespace, name)
        return lambda: self._label(node, label, "yes")

    def _label(self, node: str, label: str, value: str | None) -> None:
        patch = json.dumps({"metadata": {"labels": {label: value}}})
        answer(self.jobs.api.patch(f"/api/v1/nodes/{node}", content=patch, headers={"Content-Type": MERGE}))

    def mend(self) -> None:
        """No card is called faulty any more, no node is the story's."""
        for node in self.room[1]:
            self._label(node, self.room[0], None)
        for card in self.faulty:
            self.stage.cluster_info.mend(*card)
        self.faulty.clear()

    def befall(self, kind: str, name: str) -> None:
        """Something befalls a pod; LookupError or TestbedError where it is not there, or does not run."""
        space = self.jobs.namespace
        acts: dict[str, Callable[[], None]] = {
            "evicted": lambda: self.stage.nodes.evict(space, name),
            "preempted": lambda: self._preempt(name),
            "deleted": lambda: self._delete(name),
            "deleted at once": lambda: self._delete(name, gracePeriodSeconds="0"),
            "node lost": lambda: self.stage.lose_node_of(space, name),
            "rebooted": lambda: self.stage.reboot_node_of(space, name),
            "card fault": lambda: self._spoil_card(name),
            "table spoiled": self._spoil_table,
        }
        if kind in acts:
            acts[kind]()
            return
        code, reason, _ = draw.FAULTS[kind]
        end = self._end_ranks if "worker" in name and kind not in draw.OF_PODS else self._end_program
        end(name, Ending(exit_code=code, reason=reason, message=_report(code)))

    def _end_ranks(self, name: str, ending: Ending) -> None:
        self.stage.nodes.end_ranks(self.jobs.namespace, name, ending)

    def _end_program(self, name: str, ending: Ending) -> None:
        if not self.stage.nodes.pod(self.jobs.namespace, name).is_running:
            raise LookupError(name)
        self.stage.nodes.finish(self.jobs.namespace, name, ending)

    def _delete(self, name: str, **grace: str) -> None:
        answer(self.jobs.api.delete(self._path("pods", name), params=grace))

    def _preempt(self, name: str) -> None:
        """What a scheduler does: it says why, and deletes the pod with the pod's own grace period."""
        patch = {"status": {"conditions": [{**PREEMPTION, "lastTransitionTime": played.AT}]}}
        headers = {"Content-Type": STRATEGIC}
        answer(self.jobs.api.patch(f"{self._path('pods', name)}/status", content=json.dumps(patch), headers=headers))
        self._delete(name)

    def _spoil_card(self, name: str) -> None:
        """MindX calls a card of the pod faulty, and its rank dies of it."""
        pod = answer(self.jobs.api.get(self._path("pods", name)))
        devices = json.loads(pod["metadata"].get("annotations", {}).get(CONFIGURATION, "{}")).get("devices")
        if not devices:
            raise LookupError(name)
        card = pod["spec"]["nodeName"], device_name(int(devices[0]["device_id"]))
        self.stage.cluster_info.tell(*card)
        self.faulty.append(card)
        self._end_ranks(name, Ending(exit_code=1))

    def _spoil_table(self) -> None:
        """Somebody writes nonsense into the rank table."""
        patch = json.dumps({"data": {TABLE_KEY: "{}"}})
        path = self._path("configmaps", TABLE)
        answer(self.jobs.api.patch(path, content=patch, headers={"Content-Type": MERGE}))

    def _path(self, resource: str, name: str) -> str:
        return f"/api/v1/namespaces/{self.jobs.namespace}/{resource}/{name}"


def _report(code: int) -> str:
    reason = {2: "InvalidInput", 3: "Diverged"}.get(code)
    return "" if reason is None else f'{{"failure":{{"reason":"{reason}","message":"m","rank":0,"exitCode":{code}}}}}'
