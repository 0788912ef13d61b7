"""`arcface run`: the pods that a job has on this machine, from the first of them to the job's results."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from arcface_api.contract.reports import EvaluatorReport, Report, TrainerReport
from arcface_api.errors import ArcFaceError, Diverged, ExitCode, InvalidInput, Stopped
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import Progress
from arcface_operator.decision.policies.gates import gate_results, missed
from arcface_operator.local.decision import Action, Limits
from arcface_operator.local.kubelet.cards import PodCards, asked_cards, check_cards, take_cards
from arcface_operator.local.kubelet.directories import Claims, Workdir, create_claims, locked_workdir
from arcface_operator.local.kubelet.kubelet import Kubelet, PodProcess
from arcface_operator.local.kubelet.process_spec import PodPlacement, build_process_spec, left_out
from arcface_operator.local.progress import Notices, ReportProbe, View, open_view, results_table
from arcface_operator.local.supervisor import Outcome, Supervisor, stop_requests
from arcface_operator.manifests import config_maps, evaluator_pod, metadata, worker_pod
from arcface_operator.preflight import data, spec_checks
from arcface_operator.settings import Settings

ERRORS: dict[int, type[ArcFaceError]] = {ExitCode.INVALID_INPUT: InvalidInput, ExitCode.DIVERGED: Diverged}


class LocalRun:
    """One run of one job."""

    def __init__(self, job: ArcFaceTrainingJob, settings: Settings, claims: Claims, root: Path = Path("/")) -> None:
        """Prepare a run; device files and the driver of cards are looked for below `root`."""
        self.job = _without_rank_table(job)
        self.settings = settings
        self.claims = claims
        self.root = root

    def run(self, path: Path, output: Console, messages: Console) -> None:
        """Train and evaluate; the results go to `output`, everything on the way to `messages`.

        Raises:
            ArcFaceError: where the job fails, a gate is missed or the user stops it.
        """
        self.check()
        with locked_workdir(path) as workdir, stop_requests() as stop:
            create_claims(self.claims)
            with open_view(messages) as view:
                supervisor = Supervisor(self.start_kubelet(workdir, view), view, stop)
                self.train(supervisor, view)
                report = self.evaluate(supervisor, view)
            self.show(report, workdir.logs, output)

    def check(self) -> None:
        """Refuse what cannot come to a good end, before anything is created or a step is made."""
        check_runnable(self.job)
        spec_checks.check_templates(self.job)
        check_pods(self.job, self.claims, self.settings)
        if count := self.count_cards():
            check_cards(count, self.root)
        if self.job.spec.evaluation is not None:
            data.check_evaluation_sets(self.job.spec.evaluation, self.claims)

    def count_cards(self) -> int:
        """Cards that are in use at once: by the ranks, later by the evaluator."""
        if self.job.spec.workers.accelerator != "ascend":
            return 0
        gangs = self.workers(0), evaluator_pods(self.job, self.settings)
        return max(sum(asked_cards(pod, self.job.spec.workers.resource_name) for pod in gang) for gang in gangs)

    def start_kubelet(self, workdir: Workdir, view: View) -> Kubelet:
        """What runs the pods, with the cards for them, once nothing of an earlier run is left."""
        kubelet = Kubelet(workdir, self.claims, _config_maps(self.job))
        if kubelet.clear(patience=self.settings.termination_grace_seconds):
            view.note("killed processes that an earlier run had left behind")
        if count := self.count_cards():
            numbers = take_cards(count, self.root)
            kubelet.cards = PodCards(resource_name=self.job.spec.workers.resource_name, numbers=numbers)
            view.note(f"on the cards {', '.join(map(str, numbers))}")
        return kubelet

    def train(self, supervisor: Supervisor, view: View) -> None:
        """Run the rank pods to their end."""
        for name in left_out(self.workers(0)[0]):
            view.note(f"container {name} of the template is left out on this machine")
        workers, policy = self.job.spec.workers, self.job.spec.run_policy
        view.note(f"training {self.job.metadata.name} on {workers.world_size} ranks in {workers.replicas} pods")
        limits = Limits(
            backoff_limit=policy.backoff_limit,
            startup_seconds=policy.startup_deadline_seconds,
            stall_seconds=policy.stall_seconds,
            active_seconds=policy.active_deadline_seconds,
        )
        notices, probe = Notices(view), ReportProbe()

        def progress(address: str) -> Progress | None:
            if (report := probe(address)) is None:
                return None
            notices.see(report)
            return report.progress

        outcome = supervisor.run(self.workers, limits, progress)
        reports = [TrainerReport.parse(pod.last_words()) or TrainerReport() for pod in outcome.pods]
        notices.see(reports[0])
        notices.count(max(report.skipped_images for report in reports))
        _check_outcome(outcome, _stopped_message(outcome))
        if reports[0].progress is not None:
            view.progress(reports[0].progress)

    def workers(self, attempt: int) -> list[metadata.Manifest]:
        """The rank pods of an attempt."""
        return worker_pods(self.job, attempt, self.settings)

    def evaluate(self, supervisor: Supervisor, view: View) -> EvaluatorReport | None:
        """Run the evaluator, if the job has one."""
        evaluation = self.job.spec.evaluation
        if evaluation is None:
            return None
        view.note(f"training is done; evaluating {', '.join([*evaluation.sets, *evaluation.ijb])}")
        limits = Limits(
            backoff_limit=self.job.spec.run_policy.backoff_limit,
            active_seconds=self.job.spec.run_policy.active_deadline_seconds,
        )
        outcome = supervisor.run(lambda _: evaluator_pods(self.job, self.settings), limits, lambda _: None)
        _check_outcome(outcome, "stopped; the training is done, the same command evaluates it")
        report = EvaluatorReport.parse(outcome.pods[0].last_words())
        if report is None:
            raise ArcFaceError(f"pod {outcome.pods[0].name}: left no report; log: {outcome.pods[0].log}")
        return report

    def show(self, report: EvaluatorReport | None, logs: Path, output: Console) -> None:
        """Print the results; a missed gate is an error."""
        evaluation = self.job.spec.evaluation
        gates = gate_results(evaluation.gates, report) if evaluation is not None and report is not None else []
        if report is not None:
            output.print(results_table(report, gates))
        checkpoints = self.claims[self.job.spec.checkpoint.claim_name] / config_maps.checkpoint_path(self.job)
        output.print(f"checkpoints: {checkpoints}\nlogs: {logs}", markup=False, highlight=False, soft_wrap=True)
        if failed := missed(gates):
            raise ArcFaceError(failed)


def check_runnable(job: ArcFaceTrainingJob) -> None:
    """Refuse what this release or this machine cannot do."""
    sentences = spec_checks.unsupported(job.spec)
    if job.spec.suspend:
        sentences.append("spec.suspend: is true; set it to false to run the job")
    if sentences:
        raise InvalidInput("; ".join(sentences))


def _without_rank_table(job: ArcFaceTrainingJob) -> ArcFaceTrainingJob:
    """The job as one machine runs it: there HCCL finds all cards by itself."""
    workers = job.spec.workers.model_copy(update={"rendezvous": "dynamic"})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"workers": workers})})


def _stopped_message(outcome: Outcome) -> str:
    """What a user reads who has stopped the training."""
    report = TrainerReport.parse(outcome.pods[0].last_words())
    if report is None or report.checkpoint is None:
        return "stopped; the same command resumes from the newest checkpoint, if there is one"
    return f"saved at step {report.checkpoint.step}; the same command resumes"


def _check_outcome(outcome: Outcome, stopped: str) -> None:
    """Raise what the end of a gang means, nothing where it is done."""
    decision = outcome.decision
    if decision.action is Action.STOP:
        raise Stopped(stopped)
    if decision.action is Action.FAIL:
        text = decision.reason if outcome.culprit is None else f"{_words(outcome.culprit)} ({decision.reason})"
        raise ERRORS.get(decision.exit_code, ArcFaceError)(text)


def _words(pod: PodProcess) -> str:
    """What a failed pod says about its end, and where to read more."""
    report = Report.parse(pod.last_words())
    if report is not None and report.failure is not None:
        message = report.failure.message
    else:
        lines = pod.last_words().decode(errors="replace").split("\n")
        message = next((line.strip() for line in reversed(lines) if line.strip()), "ended without a word")
    return f"pod {pod.name}: {message}; log: {pod.log}"


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
        placement = PodPlacement(
            folder=Path("/", pod["metadata"]["name"]),
            address="127.0.0.1",
            hosts={},
            claims=claims,
            config_maps=_config_maps(job),
        )
        build_process_spec(pod, placement)
