"""A full gang of pods: tell the ranks of each other, follow their progress, start anew after a fault."""

import hashlib
from datetime import datetime

from arcface_api.contract.pod_environment import RANK_TABLE_ANNOTATION, SCHEDULER_ANNOTATION
from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import CheckpointStatus, FailureStatus, Progress
from arcface_operator.decision.conditions import true_since, with_condition
from arcface_operator.decision.context import Case
from arcface_operator.decision.ending import fail
from arcface_operator.decision.evaluation import begin_evaluation
from arcface_operator.decision.faults import Fault, pod_fault, worst
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Annotate, Apply, Plan
from arcface_operator.decision.rank_table import assemble
from arcface_operator.decision.starting import start
from arcface_operator.manifests.metadata import worker_name
from arcface_operator.manifests.rank_table_map import build_rank_table_map
from arcface_operator.manifests.run_config import checkpoint_path


def train(case: Case) -> Plan:
    """One look at a gang in Starting or Training."""
    case = with_live_report(with_admission(case))
    if is_done(case):
        return begin_evaluation(with_last_report(case))
    if (fault := gang_fault(case)) is not None:
        left = settling_seconds(case, fault)
        if left:
            return Plan(status=case.status, look_again_seconds=left)
        return restart(case, fault)
    case, actions = introduce(case)
    if case.status.phase == "Training":
        return Plan(status=case.status, actions=actions, look_again_seconds=case.settings.progress_seconds)
    case = with_condition(case, "Training", truth=False, reason="Starting", message=waiting_for(case))
    return Plan(status=case.status, actions=actions, look_again_seconds=case.settings.starting_poll_seconds)


def waiting_for(case: Case) -> str:
    """What a gang that starts waits for, the first pod's reason in full."""
    waiting = [pod for pod in case.workers if not pod.is_ready and pod.ended is None]
    reasons = [f"pod {pod.name}: {pod.waiting}" for pod in waiting if pod.waiting is not None]
    if reasons:
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return reasons[0] + others
    return f"{len(waiting)} pods are not ready" if waiting else "the ranks are starting"


def gather(case: Case) -> Plan:
    """One look at a gang in Pending or Restarting: where it cannot be completed in time, it lets go of its devices."""
    if case.workers and not case.old_workers and missing_worker(case) is not None:
        fault = late_start(case)
        if fault is not None:
            return restart(case, fault)
    return start(case)


def with_live_report(case: Case) -> Case:
    """The case with what rank 0 serves; its first word is the beginning of the training."""
    report = case.seen.report
    if report is None or report.progress is None:
        return case
    if case.status.phase == "Starting":
        message = f"attempt {case.status.attempt} trains"
        case = with_condition(case, "Training", truth=True, reason="Training", message=message)
        case = case.with_status(phase="Training")
    return with_report(case, report)


def with_report(case: Case, report: TrainerReport) -> Case:
    """The case with a trainer's progress and checkpoint."""
    if report.progress is not None:
        case = case.with_status(progress=advanced(case.status.progress, report.progress, case.now))
    if report.checkpoint is not None:
        case = with_checkpoint(case, report.checkpoint)
    return case


def advanced(old: Progress | None, new: Progress, now: datetime) -> Progress:
    """The newer progress by our own clock; one without a new step leaves the old, so that a stall shows.

    A verification comes after the step that it is about.
    """
    if old is not None and old.step == new.step:
        verified = {"verification": new.verification, "best": new.best}
        return old if new.verification is None else old.model_copy(update=verified)
    return new.model_copy(update={"updated_at": now})


def with_checkpoint(case: Case, checkpoint: CheckpointStatus) -> Case:
    """The case with the newest complete checkpoint; a trainer names its folder within the job's own."""
    path = f"{checkpoint_path(case.job)}/{checkpoint.path}"
    found = with_condition(
        case, "CheckpointAvailable", truth=True, reason="Saved", message=f"step {checkpoint.step} in {path}"
    )
    return found.with_status(checkpoint=checkpoint.model_copy(update={"path": path}))


def is_done(case: Case) -> bool:
    """Whether every pod of the gang has ended well."""
    pods = case.workers
    ended_well = [pod for pod in pods if pod.ended is not None and pod.ended.exit_code == 0]
    return len(ended_well) == len(pods) == case.spec.workers.replicas


def with_last_report(case: Case) -> Case:
    """The case with what the first pod said at its end."""
    ended = case.workers[0].ended
    report = None if ended is None else TrainerReport.parse(ended.message)
    case = with_report(case, report or TrainerReport())
    return with_condition(case, "Training", truth=False, reason="Trained", message="every rank has ended well")


def gang_fault(case: Case) -> Fault | None:
    """What is wrong with the gang, None while it is well."""
    per_pod = case.spec.workers.devices_per_worker
    faults = [(pod, fault) for pod in case.workers if (fault := pod_fault(pod, per_pod)) is not None]
    fault, missing = worst(faults), missing_worker(case)
    if missing is not None and (fault is None or (fault.is_counted and not fault.is_final)):
        # A pod that is gone explains the failures of its peers as much as one that was disrupted does.
        name = worker_name(case.job.metadata.name, missing)
        lost = FailureStatus(reason="PodLost", message=f"pod {name} is gone", rank=missing * per_pod, pod=name)
        return Fault(failure=lost, is_counted=False)
    if fault is None:
        fault = late_start(case) if case.status.phase == "Starting" else stall(case)
    if fault is not None and fault.is_counted and not fault.is_final:
        return lost_node(case) or fault
    return fault


def lost_node(case: Case) -> Fault | None:
    """A node that does not answer explains that its ranks are silent and that their peers give up."""
    pod = next((pod for pod in case.workers if pod.node in case.seen.lost_nodes), None)
    if pod is None:
        return None
    message = f"node {pod.node} of pod {pod.name} is gone or does not answer"
    rank = pod.index * case.spec.workers.devices_per_worker
    lost = FailureStatus(reason="NodeLost", message=message, rank=rank, pod=pod.name, node=pod.node)
    return Fault(failure=lost, is_counted=False)


def missing_worker(case: Case) -> int | None:
    """The first pod of the gang that is not there."""
    present = {pod.index for pod in case.workers}
    return next((index for index in range(case.spec.workers.replicas) if index not in present), None)


def with_admission(case: Case) -> Case:
    """A gang that its queue holds back is not ready to run: the time to start in begins once it is let in."""
    if case.status.phase != "Starting":
        return case
    if any(pod.is_gated for pod in case.workers):
        return with_condition(case, "Ready", truth=False, reason="Queued", message="the queue has not let the pods in")
    return with_condition(case, "Ready", truth=True, reason="Ready", message="all pods exist")


def late_start(case: Case) -> Fault | None:
    """A gang that should have started by now, and what it waits for."""
    limit = case.spec.run_policy.startup_deadline_seconds
    waiting = next((pod for pod in case.workers if not pod.is_ready), None)
    # Of ranks that run it is known only since somebody asks them.
    since = latest(admitted_at(case), case.seen.watched_since if waiting is None else None)
    if any(pod.is_gated for pod in case.workers) or not case.is_past(since, limit):
        return None
    pod = waiting or case.workers[0]
    table, missing = case.status.rank_table, missing_worker(case)
    if missing is not None:
        why = f"there is no pod {worker_name(case.job.metadata.name, missing)}: {case.seen.refusal or 'not created'}"
    elif pod.waiting is None and table is not None and table.state == "initializing":
        why = f"the rank table waits for {', '.join(table.missing) or 'the device plugin'}"
    else:
        why = f"pod {pod.name}: {pod.waiting or 'rank 0 reports no progress'}"
    failure = FailureStatus(
        reason="StartupDeadlineExceeded",
        message=f"training has not begun after startupDeadlineSeconds {limit}: {why}",
        pod=pod.name,
        node=pod.node,
    )
    return Fault(failure=failure)


def admitted_at(case: Case) -> datetime | None:
    """When the gang could have started: with its first pod, or once all were there and let in by their queue."""
    created = min((pod.created for pod in case.workers), default=None)
    return latest(created, true_since(case.status, "Ready"))


def latest(*moments: datetime | None) -> datetime | None:
    """The last of the moments that are there."""
    return max((moment for moment in moments if moment is not None), default=None)


def stall(case: Case) -> Fault | None:
    """A gang that makes no step any more."""
    limit, progress = case.spec.run_policy.stall_seconds, case.status.progress
    moved = progress.updated_at if progress is not None else None
    if not case.is_past(latest(true_since(case.status, "Training"), moved, case.seen.watched_since), limit):
        return None
    step = progress.step if progress is not None else 0
    rank = progress.slowest_rank if progress is not None else None
    message = f"no new step for stallSeconds {limit} after step {step}"
    return Fault(failure=FailureStatus(reason="Stalled", message=message, rank=rank))


def settling_seconds(case: Case, fault: Fault) -> float | None:
    """Time left for the pods to end by themselves: the first to fail is not always the one that explains it."""
    if fault.is_final or all(pod.ended is not None for pod in case.workers):
        return None
    ended = [pod.ended for pod in case.workers if pod.ended is not None and pod.ended.exit_code != 0]
    left = case.seconds_left(
        min((end.at for end in ended if end.at is not None), default=None), case.settings.settle_seconds
    )
    # A node whose clock is far ahead of ours must not hold the others up.
    return None if left is None or left > 2 * case.settings.settle_seconds else left


def restart(case: Case, fault: Fault) -> Plan:
    """All ranks start anew from the newest complete checkpoint, or the job has failed."""
    counted = case.status.counted_restarts + fault.is_counted
    limit = case.spec.run_policy.backoff_limit
    if fault.is_final:
        return fail(case, fault.failure.reason, fault.failure.message, fault.failure)
    if fault.is_counted and counted > limit:
        message = f"backoffLimit {limit} is used up: {fault.failure.message}"
        return fail(case, "BackoffLimitExceeded", message, fault.failure)
    case = with_condition(case, "Training", truth=False, reason=fault.failure.reason, message=fault.failure.message)
    if case.has_rank_table:
        case = with_condition(case, "RankTableReady", truth=False, reason="Restarting", message="the pods start anew")
    return start(
        case.with_status(
            phase="Restarting",
            attempt=case.status.attempt + 1,
            restarts=case.status.restarts + 1,
            counted_restarts=counted,
            restarted_at=case.now,
            failure=fault.failure,
            rank_table=None,
        )
    )


def introduce(case: Case) -> tuple[Case, tuple[Action, ...]]:
    """Tell every rank where the others are, as soon as that is known."""
    if case.has_rank_table:
        return publish_rank_table(case)
    pods = case.workers
    address = pods[0].address
    if len(pods) == 1 or address is None:
        return case, ()
    return case, annotations(pods, SCHEDULER_ANNOTATION, address)


def publish_rank_table(case: Case) -> tuple[Case, tuple[Action, ...]]:
    """Complete the rank table and touch the pods, so that their kubelets show it at once."""
    table = assemble(case.spec, case.workers, case.settings.device_annotation)
    case = case.with_status(rank_table=table.status)
    if table.document is None:
        reason = "DevicesUnusable" if table.problem else "WaitingForDevices"
        message = table.problem or f"no devices are known yet of {', '.join(table.status.missing)}"
        return with_condition(case, "RankTableReady", truth=False, reason=reason, message=message), ()
    case = with_condition(case, "RankTableReady", truth=True, reason="Completed", message="all ranks are in it")
    touches = annotations(case.workers, RANK_TABLE_ANNOTATION, hashlib.sha256(table.document.encode()).hexdigest())
    if not touches:
        return case, ()
    return case, (Apply(build_rank_table_map(case.job, table.document, case.now, case.settings)), *touches)


def annotations(pods: tuple[PodView, ...], name: str, value: str) -> tuple[Action, ...]:
    """Annotate the pods that do not have the value yet."""
    return tuple(
        Annotate(name=pod.name, uid=pod.uid, annotations={name: value})
        for pod in pods
        if pod.ended is None and pod.annotations.get(name) != value
    )
