"""The decision: from what is observed of a job to its status and the actions that follow. Pure.

    None, Suspended -> Pending -> Queued -> Starting -> Training | Evaluating -> Succeeded, Failed (from every phase)
                                    ^          |             |
                                    +---- Restarting <-------+

The first way through is the training's; when that is done, the second is the evaluation's (`stages`).

The status is written before the actions are taken, and every action follows from the status and the children alone, so
that an operator which dies in between finds the same actions again (a write-ahead log).
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from arcface_api.resource.status import ArcFaceTrainingJobStatus, Phase, WorkersStatus
from arcface_operator.decision import ending, evaluation, gang, stages, starting, training
from arcface_operator.decision.answers.action_failure import CREATION
from arcface_operator.decision.context import DecisionContext, condition, true_since
from arcface_operator.decision.observation import Observation
from arcface_operator.decision.plan import Action, EmitEvent, Plan, Rollout, earliest, family_of
from arcface_operator.decision.policies import (
    active_deadline_seconds,
    clock,
    min_replicas,
    most_uncounted_restarts,
    scheduling_gang,
)
from arcface_operator.decision.recovery import one_pod
from arcface_operator.settings import Settings

FINAL_PHASES: frozenset[Phase | None] = frozenset({"Succeeded", "Failed"})
WAITING_PHASES: frozenset[Phase | None] = frozenset({None, "Suspended", "Pending", "Queued", "Restarting"})
"""In which a decision looks at claims and nodes."""
GROUPLESS_PHASES: frozenset[Phase | None] = FINAL_PHASES | {"Suspended"}
"""In which a gang scheduler's group is not needed any more."""
GANG_PHASES: frozenset[Phase | None] = frozenset({"Starting", "Training", "Evaluating"})
"""In which there is room for a gang."""


def nodes_in_question(observed: Observation, settings: Settings, now: datetime) -> frozenset[str]:
    """Nodes to look at before the decision: a lost one keeps pods from leaving, or is to blame for their faults."""
    context = _context_of(observed, settings, now)
    pods = [pod for pod in (*observed.pods, *observed.earlier) if ending.is_overdue(context, pod)]
    pods += (*one_pod.replaced(context), *context.spare_pods)
    is_wanted = context.job.metadata.deletion_timestamp is None and not context.spec.suspend
    if is_wanted and context.status.phase in GANG_PHASES:
        silent = context.pods[:1] if context.is_out_of_sight else ()
        pods += context.pods if gang.is_blamed(context) else silent
    return frozenset(pod.node for pod in pods if pod.node is not None)


def decide(observed: Observation, settings: Settings, now: datetime) -> Plan:
    """What follows from an observation."""
    context = _context_of(observed, settings, now)
    if context.job.metadata.deletion_timestamp is not None:
        return Plan(status=observed.job.status)  # its children go with it
    if observed.are_pods_unseen:
        return _wait_for_sight(context)
    plan = _next_step(context)
    decided = replace(context, status=_with_counts(context, plan.status))
    requests = (*plan.actions, *_repairs(decided, plan), *_tidying(decided))
    decided = _with_answers(decided, requests)
    has_failed = any(failure.family == CREATION for failure in observed.failures)
    return Plan(
        status=decided.status,
        actions=(*requests, *_events(observed.job.status, decided.status)),
        rollout=Rollout.ONE_FIRST if has_failed else Rollout.AT_ONCE,
        look_again_seconds=earliest(plan.look_again_seconds, *_limits_left(decided)),
    )


def _wait_for_sight(context: DecisionContext) -> Plan:
    """A job whose pods nobody sees stays as it is, which its user is told: what is known of them is not how they are.

    It holds for wishes, too: a suspension or an end comes to an end by pods that are seen to leave.
    """
    for failure in context.observed.unread:
        context = context.with_condition("Ready", truth=False, reason=failure.reason, message=failure.message)
    return Plan(status=context.status)


def _context_of(observed: Observation, settings: Settings, now: datetime) -> DecisionContext:
    """The job as it stands; an earlier release says of a training that is done no more than a condition's reason."""
    context = DecisionContext(observed, clock.without_future(observed.job.status, now), settings, now)
    done = condition(context.status, "Training")
    if done is None or context.status.training_completion_time is not None or not stages.is_trained(context.status):
        return context
    return context.with_status(
        training_completion_time=done.last_transition_time, evaluation_hash=evaluation.evaluation_hash(context.job)
    )


def _next_step(context: DecisionContext) -> Plan:
    """The rules in the order of their precedence."""
    if evaluation.is_to_be_opened(context):
        return evaluation.open_stage(context)
    if context.status.phase in FINAL_PHASES:
        return ending.after_end(context)
    if (sentence := starting.refusal(context)) is not None:
        return ending.fail(context, "InvalidSpec", sentence)
    if (paused := _pause(context)) is not None:
        return paused
    plan = _by_phase(context)
    if plan.status.phase not in FINAL_PHASES and (sentence := active_deadline_seconds.exceeded(context)) is not None:
        # An end that was reached in time counts even where it is seen late.
        return ending.fail(context, "DeadlineExceeded", sentence)
    return plan


def _pause(context: DecisionContext) -> Plan | None:
    """What a suspension comes to, also one that is called off before its pods have left; None where the job goes on."""
    is_pausing = context.spec.suspend or ending.is_suspending(context)
    done = gang.done_meanwhile(context) if is_pausing else None
    if done is not None or not context.spec.suspend:
        return done
    return ending.suspend(training.with_end_report(context) if context.stage is stages.TRAINING else context)


def _by_phase(context: DecisionContext) -> Plan:
    """The rules of each phase."""
    context, phase = most_uncounted_restarts.settled(context), context.status.phase
    if phase in {None, "Suspended"} or ending.is_suspending(context):
        return starting.start(starting.begin(context))
    return gang.gather(context) if phase in WAITING_PHASES else gang.follow(context)


def _with_answers(context: DecisionContext, actions: Iterable[Action]) -> DecisionContext:
    """The context with what was heard of actions that are still to be taken, and with nothing of pods that are gone."""
    pending = {family_of(action) for action in actions if not isinstance(action, EmitEvent)}
    failed = [item for item in context.observed.failures if item.family in pending]
    context = context.with_failures([*failed, *context.observed.unread])
    return context if context.status.phase in GANG_PHASES else context.with_nobody_to_see()


def _repairs(context: DecisionContext, plan: Plan) -> tuple[Action, ...]:
    """What the pods of a gang that goes on need and somebody has taken away."""
    goes_on = context.status.phase in GANG_PHASES | {"Queued"} and not context.spec.suspend
    return starting.repairs(context, plan.actions) if goes_on else ()


def _tidying(context: DecisionContext) -> tuple[Action, ...]:
    """Deletion of what holds devices, or a name, and does nothing."""
    others = (*ending.removal_of_earlier(context), *scheduling_gang.settlement(context))
    if context.status.phase in GROUPLESS_PHASES or context.spec.suspend:
        return others
    return (*ending.removal_of_idle(context), *others)


def _limits_left(context: DecisionContext) -> tuple[float | None, ...]:
    """Times until a job that goes on must be looked at, whatever it waits for."""
    if context.status.phase in GROUPLESS_PHASES or context.spec.suspend:
        return ()
    return active_deadline_seconds.seconds_left(context), ending.idle_seconds(context)


def _with_counts(context: DecisionContext, status: ArcFaceTrainingJobStatus) -> ArcFaceTrainingJobStatus:
    """The status that was decided with the counts of pods, of time, and the generation it is about."""
    decided = replace(context, status=status).with_status(observed_generation=context.job.metadata.generation)
    if context.status.phase in FINAL_PHASES:
        return decided.status  # what was counted at the end stays when the pods are cleaned away
    decided = decided.with_status(active_seconds=active_deadline_seconds.counted(context, status))
    decided = min_replicas.with_size(decided)
    if context.stage is stages.EVALUATION or (status.start_time is None and status.workers is None):
        return decided.status  # all ranks are done; or suspended before it ever began: `begin` tells it by that
    pods, desired = (decided if decided.stage is stages.TRAINING else context).pods, context.spec.workers.replicas
    ready = sum(pod.is_ready and pod.ended is None for pod in pods)
    workers = WorkersStatus(
        desired=desired,
        ready=ready,
        succeeded=sum(pod.ended is not None and pod.ended.exit_code == 0 for pod in pods),
        failed=sum(pod.ended is not None and pod.ended.exit_code != 0 for pod in pods),
        summary=f"{ready}/{desired}",
    )
    running = sum(pod.is_running for pod in pods)
    runs = status.running_time or (context.now if running == context.gang_size else None)
    trains = status.training_time or (context.now if status.phase == "Training" else None)
    return decided.with_status(workers=workers, running_time=runs, training_time=trains).status


def _events(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> list[EmitEvent]:
    """Events about what has changed."""
    capped = condition(new, "RestartsCapped")
    if capped is None or capped.status != "True" or true_since(old, "RestartsCapped") is not None:
        return _events_of_phases(old, new)
    return [EmitEvent(type="Warning", reason=capped.reason, message=capped.message), *_events_of_phases(old, new)]


def _events_of_phases(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> list[EmitEvent]:
    """One where the phase has changed, or another attempt follows."""
    if new.phase == old.phase and new.attempt == old.attempt:
        return []
    if new.elastic is not None and (old.elastic is None or new.elastic.changed_at != old.elastic.changed_at):
        resized = condition(new, "FullSize")
        return [] if resized is None else [EmitEvent(type="Normal", reason="Resized", message=resized.message)]
    if new.phase == "Failed":
        failed = condition(new, "Failed")
        return [] if failed is None else [EmitEvent(type="Warning", reason=failed.reason, message=failed.message)]
    if new.phase == "Restarting" and new.failure is not None:
        message = f"{_what_follows(old, new)}: {new.failure.message}"
        return [EmitEvent(type="Warning", reason="Restarting", message=message)]
    return [EmitEvent(type="Normal", reason=str(new.phase), message=_meaning(new))]


def _what_follows(old: ArcFaceTrainingJobStatus, new: ArcFaceTrainingJobStatus) -> str:
    """What is started anew."""
    attempt, found = f"attempt {new.attempt}", new.replacement
    if new.attempt > old.attempt:
        return f"{attempt} follows"
    pods = "their pods" if found is None or found.launch != new.launch else f"theirs and a new pod {found.pod}"
    return f"the ranks of {attempt} start anew in {pods}"


def _meaning(status: ArcFaceTrainingJobStatus) -> str:
    """What a phase means for this job, in one sentence."""
    sentences: dict[Phase | None, str] = {
        "Suspended": "the pods are removed, the newest complete checkpoint is kept",
        "Pending": "waiting for storage, devices and pods",
        "Queued": f"attempt {status.attempt} waits for room for all of its pods",
        "Starting": f"all pods of attempt {status.attempt} have nodes",
        "Training": f"attempt {status.attempt} trains",
        "Evaluating": "the training is done, the evaluator runs",
        "Succeeded": "the job is done",
    }
    return sentences.get(status.phase, str(status.phase))
