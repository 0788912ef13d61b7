"""The decision: from what is observed of a job to its status and the actions that follow. Pure.

    None, Suspended -> Pending -> Starting -> Training -> Evaluating -> Succeeded
                          ^          |           |            |
                          +------ Restarting <---+            +-> Failed (from every phase)

The status is written before the actions are taken, and every action follows from the status and the children alone, so
that an operator which dies in between finds the same actions again (a write-ahead log).
"""

from datetime import datetime

from arcface_api.resource.status import ArcFaceTrainingJobStatus, Phase, WorkersStatus
from arcface_operator.decision import ending, evaluation, starting, training
from arcface_operator.decision.context import DecisionContext, condition
from arcface_operator.decision.observation import Observation
from arcface_operator.decision.plan import EmitEvent, Plan, Rollout, earliest
from arcface_operator.decision.policies import active_deadline_seconds
from arcface_operator.settings import Settings

FINAL_PHASES: frozenset[Phase | None] = frozenset({"Succeeded", "Failed"})
WAITING_PHASES: frozenset[Phase | None] = frozenset({None, "Suspended", "Pending", "Restarting"})
"""In which a decision looks at claims and nodes."""
GROUPLESS_PHASES: frozenset[Phase | None] = FINAL_PHASES | {"Suspended"}
"""In which a gang scheduler's group is not needed any more."""
GANG_PHASES: frozenset[Phase | None] = frozenset({"Starting", "Training"})
"""In which a decision looks at what rank 0 serves."""


def nodes_in_question(observed: Observation, settings: Settings, now: datetime) -> frozenset[str]:
    """Nodes to look at before the decision: a lost one keeps pods from leaving, or is to blame for their faults."""
    context = DecisionContext(observed, observed.job.status, settings, now)
    pods = [pod for pod in observed.pods if ending.is_overdue(context, pod)]
    is_wanted = context.job.metadata.deletion_timestamp is None and not context.spec.suspend
    if is_wanted and context.status.phase in GANG_PHASES and training.blames_training(context):
        pods += context.workers
    return frozenset(pod.node for pod in pods if pod.node is not None)


def decide(observed: Observation, settings: Settings, now: datetime) -> Plan:
    """What follows from an observation."""
    context = DecisionContext(observed, observed.job.status, settings, now)
    if context.job.metadata.deletion_timestamp is not None:
        return Plan(status=context.status)  # its children go with it
    plan = _next_step(context)
    status = _with_counts(context, plan.status)
    is_bounded = status.phase not in FINAL_PHASES and not context.spec.suspend
    left = active_deadline_seconds.seconds_left(context, status.start_time) if is_bounded else None
    return Plan(
        status=status,
        actions=(*plan.actions, *_events(context.status, status)),
        rollout=Rollout.AT_ONCE if observed.refusal is None else Rollout.ONE_FIRST,
        look_again_seconds=earliest(plan.look_again_seconds, left),
    )


def _next_step(context: DecisionContext) -> Plan:
    """The rules in the order of their precedence."""
    if context.status.phase in FINAL_PHASES:
        return ending.after_end(context)
    if (sentence := starting.refusal(context)) is not None:
        return ending.fail(context, "InvalidSpec", sentence)
    if context.spec.suspend:
        return ending.suspend(training.with_end_report(context))
    plan = _by_phase(context)
    if plan.status.phase not in FINAL_PHASES and (sentence := active_deadline_seconds.exceeded(context)) is not None:
        # An end that was reached in time counts even where it is seen late.
        return ending.fail(context, "DeadlineExceeded", sentence)
    return plan


def _by_phase(context: DecisionContext) -> Plan:
    """The rules of each phase."""
    phase = context.status.phase
    if phase in {None, "Suspended"} or ending.is_suspending(context):
        return starting.start(starting.begin(context))
    if phase in WAITING_PHASES:
        return training.gather(context)
    return training.train(context) if phase in GANG_PHASES else evaluation.evaluate(context)


def _with_counts(context: DecisionContext, status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """The status that was decided with the counts of pods and the generation it is about."""
    decided = DecisionContext(context.observed, status, context.settings, context.now)
    decided = decided.with_status(observed_generation=context.job.metadata.generation)
    if context.status.phase in FINAL_PHASES:
        return decided.status  # what was counted at the end stays when the pods are cleaned away
    if status.start_time is None and status.workers is None:
        return decided.status  # suspended before it ever began: `begin` tells it by that
    pods, desired = decided.workers, context.spec.workers.replicas
    ready = sum(pod.is_ready and pod.ended is None for pod in pods)
    workers = WorkersStatus(
        desired=desired,
        ready=ready,
        succeeded=sum(pod.ended is not None and pod.ended.exit_code == 0 for pod in pods),
        failed=sum(pod.ended is not None and pod.ended.exit_code != 0 for pod in pods),
        summary=f"{ready}/{desired}",
    )
    runs = status.running_time or (context.now if ready == desired else None)
    trains = status.training_time or (context.now if status.phase == "Training" else None)
    return decided.with_status(workers=workers, running_time=runs, training_time=trains).status


def _events(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> list[EmitEvent]:
    """Events about what has changed."""
    if new.phase == old.phase and new.attempt == old.attempt:
        return []
    if new.phase == "Failed":
        failed = condition(new, "Failed")
        return [] if failed is None else [EmitEvent(type="Warning", reason=failed.reason, message=failed.message)]
    if new.phase == "Restarting" and new.failure is not None:
        message = f"attempt {new.attempt} follows: {new.failure.message}"
        return [EmitEvent(type="Warning", reason="Restarting", message=message)]
    return [EmitEvent(type="Normal", reason=str(new.phase), message=_meaning(new))]


def _meaning(status: ArcFaceTrainingJobStatus) -> str:
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
