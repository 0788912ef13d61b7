"""`arcface run`: the pods that a job has on this machine, from the first of them to the job's results."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from arcface_api.contract.history import HISTORY_FILE
from arcface_api.errors import ArcFaceError, Diverged, ExitCode, InvalidInput, Stopped
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import SchedulingSpec
from arcface_api.resource.status import ArcFaceTrainingJobStatus
from arcface_operator.decision.context import condition
from arcface_operator.local.cluster import LocalCluster
from arcface_operator.local.kubelet import cards, directories, process_spec
from arcface_operator.local.kubelet.kubelet import Kubelet
from arcface_operator.local.progress import Narrator, View, open_view, results_table
from arcface_operator.local.reconciler import LocalReconciler, StopRequests, stop_requests
from arcface_operator.manifests import config_maps, evaluator_pod, metadata, worker_pod
from arcface_operator.preflight import data, init_from, spec_checks
from arcface_operator.settings import Settings

ON_THIS_MACHINE = Settings(settle_seconds=0.5, restart_seconds=0.5, longest_restart_seconds=10)
"""Shorter pauses than a cluster's: nobody else waits for what they would leave to others."""
ERRORS: dict[int | None, type[ArcFaceError]] = {ExitCode.INVALID_INPUT: InvalidInput, ExitCode.DIVERGED: Diverged}


class LocalRun:
    """One run of one job."""

    def __init__(
        self, job: ArcFaceTrainingJob, settings: Settings, claims: directories.Claims, root: Path = Path("/")
    ) -> None:
        """Prepare a run; device files and the driver of cards are looked for below `root`."""
        self.job = _for_one_machine(job)
        self.settings = settings
        self.claims = claims
        self.root = root

    def run(self, path: Path, output: Console, messages: Console) -> None:
        """Train and evaluate; the results go to `output`, everything on the way to `messages`.

        Raises:
            ArcFaceError: where the job fails, a gate is missed or the user stops it.
        """
        self.check()
        with directories.locked_workdir(path) as workdir, stop_requests() as stop:
            directories.create_claims(self.claims)
            with open_view(messages) as view:
                narrator = Narrator(view, workdir.logs)
                with self.open_cluster(workdir, view, stop) as cluster:
                    self.announce(view)
                    status = LocalReconciler(self.job, cluster, self.settings, narrator, stop).run()
            self.show(status, workdir.logs, output)
            _check_end(status, narrator)

    def check(self) -> None:
        """Refuse what cannot come to a good end, before anything is created or a step is made."""
        check_runnable(self.job)
        spec_checks.check_templates(self.job)
        check_pods(self.job, self.claims, self.settings)
        init_from.check_init_from(self.job.spec.model, self.claims)
        if count := self.count_cards():
            cards.check_cards(count, self.root)
        if self.job.spec.evaluation is not None:
            data.check_evaluation_sets(self.job.spec.evaluation, self.claims)

    def count_cards(self) -> int:
        """Cards that are in use at once: by the ranks, later by the evaluator."""
        if self.job.spec.workers.accelerator != "ascend":
            return 0
        gangs = self.workers(0), evaluator_pods(self.job, self.settings)
        return max(sum(cards.asked_cards(pod, self.job.spec.workers.resource_name) for pod in gang) for gang in gangs)

    @contextmanager
    def open_cluster(self, workdir: directories.Workdir, view: View, stop: StopRequests) -> Iterator[LocalCluster]:
        """What runs the pods, with cards and checkpoints for them, once nothing of an earlier run is left."""
        kubelet = Kubelet(workdir, self.claims)
        if kubelet.clear(self.settings.termination_grace_seconds, stop.wait_before_start):
            view.note("killed processes that an earlier run had left behind")
        with directories.locked_checkpoints(self.checkpoints, workdir) as lock:
            if lock is None:
                view.note(f"warning: {self.checkpoints} knows no locks; see that no other run uses it")
            kubelet.locks = () if lock is None else (lock,)
            kubelet.cards = self.take_cards(view)
            cluster = LocalCluster(kubelet, lambda: datetime.now(UTC))
            try:
                yield cluster
            finally:
                cluster.close()

    @property
    def checkpoints(self) -> Path:
        """Folder of the job's checkpoints."""
        return self.claims[self.job.spec.checkpoint.claim_name] / config_maps.checkpoint_path(self.job)

    def take_cards(self, view: View) -> cards.PodCards:
        """The cards of this run."""
        count = self.count_cards()
        if not count:
            return cards.PodCards()
        numbers = cards.take_cards(count, self.root)
        view.note(f"on the cards {', '.join(map(str, numbers))}")
        return cards.PodCards(resource_name=self.job.spec.workers.resource_name, numbers=numbers)

    def announce(self, view: View) -> None:
        """What is about to run, and what is not."""
        for name in process_spec.left_out(self.workers(0)[0]):
            view.note(f"container {name} of the template is left out on this machine")
        workers = self.job.spec.workers
        view.note(f"training {self.job.metadata.name} on {workers.world_size} ranks in {workers.replicas} pods")

    def workers(self, attempt: int) -> list[metadata.Manifest]:
        """The rank pods of an attempt."""
        return worker_pods(self.job, attempt, self.settings)

    def show(self, status: ArcFaceTrainingJobStatus, logs: Path, output: Console) -> None:
        """Print the results, those that miss a gate, too, and how the course of the training is drawn."""
        if status.evaluation is not None and condition(status, "Evaluated") is not None:
            output.print(results_table(status.evaluation))
        if status.phase == "Succeeded" or status.evaluation is not None:
            text = f"checkpoints: {self.checkpoints}\nlogs: {logs}"
            output.print(text, markup=False, highlight=False, soft_wrap=True)
        if (self.checkpoints / HISTORY_FILE).is_file():
            page = logs.with_name("history")
            command = shlex.join(["arcface", "history", str(self.checkpoints), "--report", str(page)])
            output.print(f"curves: {command}", markup=False, highlight=False, soft_wrap=True)


def check_runnable(job: ArcFaceTrainingJob) -> None:
    """Refuse what this release or this machine cannot do."""
    sentences = spec_checks.unsupported(job.spec)
    if job.spec.suspend:
        sentences.append("spec.suspend: is true; set it to false to run the job")
    if sentences:
        raise InvalidInput("; ".join(sentences))


def _for_one_machine(job: ArcFaceTrainingJob) -> ArcFaceTrainingJob:
    """The job as one machine runs it: HCCL finds all cards by itself, nobody queues, and nothing is left at the end."""
    changes = {
        "workers": job.spec.workers.model_copy(update={"rendezvous": "dynamic"}),
        "scheduling": SchedulingSpec(),
        "run_policy": job.spec.run_policy.model_copy(
            update={"clean_pod_policy": "Running", "ttl_seconds_after_finished": None}
        ),
    }
    return job.model_copy(update={"spec": job.spec.model_copy(update=changes)})


def _check_end(status: ArcFaceTrainingJobStatus, narrator: Narrator) -> None:
    """Raise what the end of a run means, nothing where the job is done."""
    if status.phase == "Suspended":
        raise Stopped(_stopped_message(status))
    failed, failure = condition(status, "Failed"), status.failure
    if status.phase == "Failed" and failed is not None and failure is not None:
        log = "" if failure.pod is None else f"; log: {narrator.log(failure.pod, status.attempt)}"
        raise ERRORS.get(failure.exit_code, ArcFaceError)(f"{failed.message}{log}")


def _stopped_message(status: ArcFaceTrainingJobStatus) -> str:
    """What a user reads who has stopped a run."""
    if status.training_completion_time is not None:
        return "stopped; the training is done, the same command evaluates it"
    if status.checkpoint is None:
        return "stopped; the same command resumes from the newest checkpoint, if there is one"
    return f"saved at step {status.checkpoint.step}; the same command resumes"


def worker_pods(job: ArcFaceTrainingJob, attempt: int, settings: Settings) -> list[metadata.Manifest]:
    """The rank pods of an attempt."""
    return [worker_pod.build_worker_pod(job, index, attempt, settings) for index in range(job.spec.workers.replicas)]


def evaluator_pods(job: ArcFaceTrainingJob, settings: Settings) -> list[metadata.Manifest]:
    """The evaluator's pod; none where the job evaluates nothing."""
    return [] if job.spec.evaluation is None else [evaluator_pod.build_evaluator_pod(job, 0, settings)]


def _config_maps(job: ArcFaceTrainingJob) -> dict[str, metadata.Manifest]:
    """ConfigMaps of the job by name."""
    config_map = config_maps.build_config_map(job)
    return {config_map["metadata"]["name"]: config_map}


def check_pods(job: ArcFaceTrainingJob, claims: Mapping[str, Path], settings: Settings) -> None:
    """InvalidInput where a pod of the job cannot become a process; nothing is created."""
    for pod in [*worker_pods(job, 0, settings)[:1], *evaluator_pods(job, settings)]:
        placement = process_spec.PodPlacement(
            folder=Path("/", pod["metadata"]["name"]),
            address="127.0.0.1",
            hosts={},
            claims=claims,
            config_maps=_config_maps(job),
        )
        process_spec.build_process_spec(pod, placement)
