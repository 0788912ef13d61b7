"""The decision: from what is seen of a job to its status and the actions that follow. Pure.

    None, Suspended -> Pending -> Starting -> Training -> Evaluating -> Succeeded
                          ^          |           |            |
                          +------ Restarting <---+            +-> Failed (from every phase)

The status is written before the actions are taken, and every action follows from the status and the children alone, so
that an operator which dies in between finds the same actions again.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from arcface_api.resource.status import ArcFaceTrainingJobStatus, Phase, WorkersStatus
from arcface_operator.decision.conditions import condition
from arcface_operator.decision.context import Case
from arcface_operator.decision.ending import after_end, fail, suspend
from arcface_operator.decision.evaluation import evaluate
from arcface_operator.decision.observation import Observation
from arcface_operator.decision.plan import Announce, Plan
from arcface_operator.decision.starting import begin, refusal, start
from arcface_operator.decision.training import gather, train
from arcface_operator.settings import Settings

FINAL_PHASES: frozenset[Phase | None] = frozenset({"Succeeded", "Failed"})
WAITING_PHASES: frozenset[Phase | None] = frozenset({None, "Suspended", "Pending", "Restarting"})
GROUPLESS_PHASES: frozenset[Phase | None] = FINAL_PHASES | {"Suspended"}
"""In which a gang scheduler's group is not needed any more."""
GANG_PHASES: frozenset[Phase | None] = frozenset({"Starting", "Training"})


def decide(seen: Observation, settings: Settings, now: datetime) -> Plan:
    """What follows from an observation."""
    case = Case(seen, seen.job.status, settings, now)
    if seen.job.metadata.deletion_timestamp is not None:
        return Plan(status=case.status)  # its children go with it
    plan = next_step(case)
    status = summary(case, plan.status)
    return Plan(
        status=status,
        actions=(*plan.actions, *announcements(case.status, status)),
        look_again_seconds=earliest([plan.look_again_seconds, deadline_seconds(case, status)]),
    )


def next_step(case: Case) -> Plan:
    """The rules in the order of their precedence."""
    if case.status.phase in FINAL_PHASES:
        return after_end(case)
    if (sentence := refusal(case)) is not None:
        return fail(case, "InvalidSpec", sentence)
    if case.spec.suspend:
        return suspend(case)
    plan, limit = by_phase(case), case.spec.run_policy.active_deadline_seconds
    if plan.status.phase not in FINAL_PHASES and case.is_past(case.status.start_time, limit):
        # An end that was reached in time counts even where it is seen late.
        return fail(case, "DeadlineExceeded", f"the job was not done after activeDeadlineSeconds {limit}")
    return plan


def by_phase(case: Case) -> Plan:
    """The rules of each phase."""
    phase = case.status.phase
    if phase in {None, "Suspended"}:
        return start(begin(case))
    if phase in WAITING_PHASES:
        return gather(case)
    return train(case) if phase in GANG_PHASES else evaluate(case)


def needs_surroundings(job_phase: Phase | None) -> bool:
    """Whether a decision in this phase looks at claims and nodes."""
    return job_phase in WAITING_PHASES


def needs_report(job_phase: Phase | None) -> bool:
    """Whether a decision in this phase looks at what rank 0 serves."""
    return job_phase in GANG_PHASES


def deadline_seconds(case: Case, status: ArcFaceTrainingJobStatus) -> float | None:
    """Time until activeDeadlineSeconds is over."""
    if status.phase in FINAL_PHASES or case.spec.suspend:
        return None
    return case.seconds_left(status.start_time, case.spec.run_policy.active_deadline_seconds)


def earliest(times: Iterable[float | None]) -> float | None:
    """The smallest of the times that are there."""
    return min((time for time in times if time is not None), default=None)


def summary(case: Case, status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """The status with the counts of pods and the generation it is about."""
    status = status.model_copy(update={"observed_generation": case.job.metadata.generation})
    if case.status.phase in FINAL_PHASES:
        return status  # what was counted at the end stays when the pods are cleaned away
    if status.start_time is None and status.workers is None:
        return status  # suspended before it ever began: `begin` tells it by that
    pods, desired = replace(case, status=status).workers, case.spec.workers.replicas
    ready = sum(pod.is_ready and pod.ended is None for pod in pods)
    workers = WorkersStatus(
        desired=desired,
        ready=ready,
        succeeded=sum(pod.ended is not None and pod.ended.exit_code == 0 for pod in pods),
        failed=sum(pod.ended is not None and pod.ended.exit_code != 0 for pod in pods),
        summary=f"{ready}/{desired}",
    )
    runs = status.running_time or (case.now if ready == desired else None)
    trains = status.training_time or (case.now if status.phase == "Training" else None)
    return status.model_copy(update={"workers": workers, "running_time": runs, "training_time": trains})


def announcements(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> list[Announce]:
    """Events about what has changed."""
    if new.phase == old.phase and new.attempt == old.attempt:
        return []
    if new.phase == "Failed":
        failed = condition(new, "Failed")
        return [] if failed is None else [Announce(type="Warning", reason=failed.reason, message=failed.message)]
    if new.phase == "Restarting" and new.failure is not None:
        message = f"attempt {new.attempt} follows: {new.failure.message}"
        return [Announce(type="Warning", reason="Restarting", message=message)]
    return [Announce(type="Normal", reason=str(new.phase), message=told(new))]


def told(status: ArcFaceTrainingJobStatus) -> str:
    """What a phase means for this job, in one sentence."""
    sentences: dict[Phase | None, str] = {
        "Suspended": "the pods are removed, the newest complete checkpoint is kept",
        "Pending": "waiting for storage, devices and pods",
        "Starting": f"all {status.workers.desired if status.workers else 0} pods of attempt {status.attempt} exist",
        "Training": f"attempt {status.attempt} trains",
        "Evaluating": "the training is done, the evaluator runs",
        "Succeeded": "the job is done",
    }
    return sentences.get(status.phase, str(status.phase))
