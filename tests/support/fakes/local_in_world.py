"""A local run whose pods are in a world of plain values instead of processes."""

from dataclasses import dataclass
from pathlib import Path

from arcface_api.contract.launcher_words import GangWord
from arcface_api.contract.reports import EvaluatorReport, TrainerReport
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ArcFaceTrainingJobStatus, Progress
from arcface_operator.decision.observation import PodView, view_pod
from arcface_operator.decision.plan import Action
from arcface_operator.local.progress import Narrator
from arcface_operator.local.reconciler import LocalReconciler, StopRequests
from support.builders.views import SETTINGS
from support.fakes.cluster_world import World


class Notes:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[int] = []

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress.step)

    def note(self, text: str) -> None:
        self.notes.append(text)


class LocalInWorld(LocalReconciler):
    """The run; the status is its own, whatever the world's job says."""

    def __init__(self, job: ArcFaceTrainingJob) -> None:
        self.world = World(job=job)
        self.report: TrainerReport | EvaluatorReport | None = None
        self.asked: list[str] = []
        self.view = Notes()
        self.killed = False
        narrator = Narrator(self.view, Path("logs"), now=lambda: self.world.now)
        super().__init__(job, _WorldPods(self), SETTINGS, narrator, StopRequests())
        self.clock = self._seconds
        self.probe = self._answer
        self.word: GangWord | None = None
        self.listen = lambda _: self.word

    def _seconds(self) -> float:
        return self.world.now.timestamp()

    def _answer(
        self, address: str, _kind: type[TrainerReport] | type[EvaluatorReport]
    ) -> TrainerReport | EvaluatorReport | None:
        self.asked.append(address)
        return self.report

    @property
    def status(self) -> ArcFaceTrainingJobStatus:
        return self.job.status


@dataclass
class _WorldPods:
    """The pods of the world."""

    local: LocalInWorld

    def look(self) -> tuple[PodView, ...]:
        return tuple(view_pod(pod) for pod in self.local.world.pods.values())

    def carry_out(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            self.local.world = self.local.world.after(action)

    def kill(self) -> None:
        self.local.killed = True
