"""ArcFaceTrainingJobs of one namespace of a real API server."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from arcface_api.contract.reports import EvaluatorReport, TrainerReport
from arcface_api.names import API_VERSION, KIND, PLURAL
from support.builders.jobs import job_document
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer, found
from testbed.control_plane.claims import bind_empty_claim
from testbed.control_plane.pods import MERGE
from testbed.fake_nodes.scripts import Chooser, Ending, Script, by_rank

AT = "2026-01-01T00:00:00Z"
PROGRESS = {"epoch": 1, "epochs": "1/20", "step": 70, "totalSteps": 1400, "loss": 2.5, "updatedAt": AT}
CHECKPOINT = {"path": "quick/step-00001400", "step": 1400, "savedAt": AT, "sha256": "a" * 64}
LIVE = {"progress": {**PROGRESS, "imagesPerSecond": 8200.5, "stepMilliseconds": 97.25}}
TRAINED = TrainerReport.model_validate_json(
    json.dumps(
        {
            "progress": {
                **LIVE["progress"],
                "epoch": 20,
                "epochs": "20/20",
                "step": 1400,
                "loss": 1.25,
            },
            "checkpoint": CHECKPOINT,
        }
    )
)
EVALUATED = EvaluatorReport.model_validate_json(
    '{"checkpoint": "step-00001400", "results": [{"dataset": "lfw", "accuracy": 0.998, "std": 0.003, "pairs": 6000}]}'
)
WELL = Ending(message=TRAINED)
EVALUATES = Script(runs=0.0, ending=Ending(message=EVALUATED))
TRAINS = Script(progress=LIVE)
"""Until the test ends it."""
TRAINS_BRIEFLY = Script(progress=LIVE, runs=0.4, ending=WELL)


def goes_well(evaluator: Script = EVALUATES, trainer: Script = TRAINS_BRIEFLY) -> Chooser:
    """Every rank trains for a moment and ends well, and so does the evaluator."""
    return by_rank({}, others=trainer, evaluator=evaluator)


class TrainingJobs:
    """The jobs of a namespace, and what belongs to them."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}"

    def bind_claims(self, seconds: float = 60.0) -> None:
        """Storage for the jobs of `create`."""
        for name in ("faces", "checkpoints"):
            bind_empty_claim(self.api, self.namespace, name, seconds=seconds)

    def create(self, name: str = "quick", **spec: Any) -> None:
        """A job with small defaults."""
        answer(self.api.post(self.path, json=job_document(name, **spec)))

    def read(self, name: str = "quick") -> dict[str, Any]:
        """The job."""
        job: dict[str, Any] = answer(self.api.get(f"{self.path}/{name}"))
        return job

    def status(self, name: str = "quick") -> dict[str, Any]:
        """Its status, empty before the operator has seen it."""
        status: dict[str, Any] = self.read(name).get("status", {})
        return status

    def exists(self, name: str = "quick") -> bool:
        """Whether there is such a job."""
        return found(self.api.get(f"{self.path}/{name}")) is not None

    def phase(self, name: str = "quick") -> str | None:
        """Its phase."""
        return self.status(name).get("phase")

    def wait_for(self, phase: str, name: str = "quick", seconds: float = 40.0) -> dict[str, Any]:
        """Its status once it is in this phase."""
        self.wait_until(lambda status: status.get("phase") == phase, name, seconds)
        return self.status(name)

    def wait_until(
        self, condition: Callable[[dict[str, Any]], object], name: str = "quick", seconds: float = 40.0
    ) -> dict[str, Any]:
        """Its status once a condition holds; the last one is told where it does not."""
        try:
            wait_until(lambda: condition(self.status(name)), seconds)
        except AssertionError:
            raise AssertionError(f"job {name}: {self.status(name)}") from None
        return self.status(name)

    def patch(self, name: str = "quick", **spec: Any) -> None:
        """Change its spec."""
        answer(self.api.patch(f"{self.path}/{name}", json={"spec": spec}, headers=MERGE))

    def annotate(self, annotation: str, value: str, name: str = "quick") -> None:
        """Give it an annotation."""
        change = {"metadata": {"annotations": {annotation: value}}}
        answer(self.api.patch(f"{self.path}/{name}", json=change, headers=MERGE))

    def delete(self, name: str = "quick") -> None:
        """Delete it."""
        answer(self.api.delete(f"{self.path}/{name}"))

    def children(self, resource: str, version: str = "v1") -> list[dict[str, Any]]:
        """Objects of a kind that carry our label."""
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        query = {"labelSelector": "app.kubernetes.io/managed-by=arcface-operator"}
        path = f"{root}/namespaces/{self.namespace}/{resource}"
        items: list[dict[str, Any]] = answer(self.api.get(path, params=query))["items"]
        return items

    def pods(self) -> dict[str, dict[str, Any]]:
        """Pods of jobs by name."""
        return {pod["metadata"]["name"]: pod for pod in self.children("pods")}

    def config_map(self, name: str) -> dict[str, str]:
        """Data of a ConfigMap."""
        data: dict[str, str] = answer(self.api.get(f"/api/v1/namespaces/{self.namespace}/configmaps/{name}"))["data"]
        return data

    def events(self, name: str = "quick") -> dict[str, str]:
        """Message by reason of the events on a job."""
        found = answer(self.api.get(f"/api/v1/namespaces/{self.namespace}/events"))["items"]
        own = [item for item in found if item["involvedObject"]["kind"] == KIND]
        return {item["reason"]: item["message"] for item in own if item["involvedObject"]["name"] == name}


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition, empty where it was never set."""
    return next((item for item in status.get("conditions", []) if item["type"] == kind), {})
