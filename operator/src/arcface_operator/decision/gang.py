"""A gang of pods on the way: to a whole one, to its end, or to another attempt; the same for both stages of a job."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from arcface_api.resource.status import ElasticStatus, FailureStatus
from arcface_operator.decision import ending, evaluation, room, stages, starting, training
from arcface_operator.decision.context import ROOM, DecisionContext, condition
from arcface_operator.decision.fault_table.table import NODE_LOST, NOT_LAUNCHED, POD_LOST, Remedy
from arcface_operator.decision.faults import Fault, card_fault, digest, fault_of, located, one_line, pod_fault, worst
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Plan, earliest
from arcface_operator.decision.policies import (
    avoid_node_seconds,
    backoff_limit,
    failure_rules,
    min_replicas,
    most_uncounted_restarts,
    scheduling_deadline_seconds,
    scheduling_gang,
    settle_seconds,
    stall_seconds,
    startup_deadline_seconds,
)
from arcface_operator.decision.recovery import in_place, ladder, one_pod


@dataclass(frozen=True, kw_only=True)
class _Course:
    """What is a stage's own in the course of its gang."""

    watch: Callable[[DecisionContext], DecisionContext]
    """Take in what the pods tell; the phase changes where they have begun to work."""
    introduce: Callable[[DecisionContext], tuple[DecisionContext, tuple[Action, ...]]]
    """Tell the pods of each other."""
    stall: Callable[[DecisionContext], Fault | None]
    """Whether nothing moves any more."""
    unfinished: Callable[[DecisionContext], Fault | None]
    """What is wrong where every pod has ended well: an exit code alone is no success."""
    complete: Callable[[DecisionContext], Plan]
    """The stage is done."""
    give_up: Callable[[DecisionContext, str, str, FailureStatus], Plan]
    """There is no other attempt, for this reason and in this sentence."""


_COURSES = {
    stages.TRAINING.component: _Course(
        watch=training.with_live_report,
        introduce=training.introduce,
        stall=stall_seconds.stalled_training,
        unfinished=training.unfinished,
        complete=lambda context: evaluation.open_stage(training.with_last_report(context)),
        give_up=ending.fail,
    ),
    stages.EVALUATION.component: _Course(
        watch=evaluation.with_live_report,
        introduce=lambda context: (context, ()),
        stall=stall_seconds.stalled_evaluation,
        unfinished=lambda _: None,  # what its report lacks no restart adds: `read_results` says so
        complete=evaluation.read_results,
        give_up=evaluation.give_up,
    ),
}


def gather(context: DecisionContext) -> Plan:
    """One look at a gang in Pending, Queued or Restarting: what it cannot use yet, it does not hold for long."""
    if one_pod.is_under_way(context):
        return _replace_pod(context)
    if context.old_pods or room.is_whole(context):
        return starting.start(context)
    if (sentence := scheduling_deadline_seconds.exceeded(context)) is not None:
        reason = "SchedulingDeadlineExceeded"
        return _course(context).give_up(context, reason, sentence, FailureStatus(reason=reason, message=sentence))
    fault = _fault_while_gathering(context)
    if fault is None and (pods := min_replicas.fewer(context)) is not None:
        return _resize(context, pods, "NoRoom")
    if (fault := fault or room.held_too_long(context)) is not None:
        return _act_on(context, fault)
    plan = starting.start(context)
    waits = scheduling_deadline_seconds.seconds_left(context), room.seconds_left(context)
    left = *waits, min_replicas.seconds_left(context), starting.group_seconds(context)
    return replace(plan, look_again_seconds=earliest(plan.look_again_seconds, *left))


def _replace_pod(context: DecisionContext) -> Plan:
    """One look at a gang that waits for one pod; an elastic one for no longer than for room for all of them."""
    if (fault := _fault_while_replacing(context)) is not None:
        return _act_on(context, fault)
    if (pods := min_replicas.fewer(context)) is not None:
        return _resize(context, pods, "NoRoom")
    plan = starting.start(context)
    return replace(plan, look_again_seconds=earliest(plan.look_again_seconds, min_replicas.seconds_left(context)))


def follow(context: DecisionContext) -> Plan:
    """One look at a gang that has room, in Starting or at work."""
    if context.status.phase == "Starting" and context.missing_pod is None and not room.is_whole(context):
        return starting.start(context)  # an earlier release calls it starting before it has room
    course, context = _course(context), _course(context).watch(context)
    if _is_done(context):
        fault = course.unfinished(context)
        return course.complete(context) if fault is None else _act_on(context, fault)
    told = ladder.with_told_ends(context)
    if (fault := _gang_fault(told)) is not None:
        left = settle_seconds.seconds_left(told, fault)
        return Plan(status=context.status, look_again_seconds=left) if left else _judge(context, fault)
    context, actions = course.introduce(context)
    settings, stage = context.settings, context.stage
    if context.status.phase == stage.at_work:
        return _go_on(context, actions)
    context = context.with_condition(stage.condition, truth=False, reason="Starting", message=_waiting_for(context))
    return Plan(status=context.status, actions=actions, look_again_seconds=settings.starting_poll_seconds)


def _go_on(context: DecisionContext, actions: tuple[Action, ...]) -> Plan:
    """A gang at work is well; it may have room for more pods."""
    if (pods := min_replicas.more(context)) is not None:
        return _resize(context, pods, "MoreRoom")
    actions = (*actions, *starting.look_for_room(context))
    return Plan(status=context.status, actions=actions, look_again_seconds=context.settings.progress_seconds)


def is_blamed(context: DecisionContext) -> bool:
    """Whether a gang that has room is about to be blamed for a fault, which a lost node would explain."""
    context = _course(context).watch(context)
    if _is_done(context):
        return False
    told = ladder.with_told_ends(context)
    fault = _gang_fault(told)
    return fault is not None and fault.is_blamed and not settle_seconds.seconds_left(told, fault)


def done_meanwhile(context: DecisionContext) -> Plan | None:
    """The end of a stage that a suspension meets: what is done is never done again. The next look suspends the rest.

    An evaluation that is not the one wished for any more is judged by nobody.
    """
    status, course = context.status, _course(context)
    if status.phase in {None, "Suspended"} or not _is_done(context) or course.unfinished(context) is not None:
        return None
    if context.stage is stages.EVALUATION and status.evaluation_hash != evaluation.evaluation_hash(context.job):
        return None
    done = replace(context, status=course.complete(context).status)
    if condition(done.status, "Suspended") is not None:
        why = f"the {context.stage.work} was done before"
        done = done.with_condition("Suspended", truth=False, reason="Done", message=why)
    return Plan(status=done.status, look_again_seconds=0.0)


def _course(context: DecisionContext) -> _Course:
    """What is the stage's own."""
    return _COURSES[context.stage.component]


def _waiting_for(context: DecisionContext) -> str:
    """What a gang that starts waits for, the first pod's reason in full."""
    waiting = [pod for pod in context.pods if not pod.is_running and pod.ended is None]
    reasons = [f"pod {pod.name}: {pod.waiting}" for pod in waiting if pod.waiting is not None]
    if reasons:
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return reasons[0] + others
    return f"{len(waiting)} pods do not run yet" if waiting else "the ranks are starting"


def _is_done(context: DecisionContext) -> bool:
    """Whether every pod of the gang has ended well."""
    pods = context.pods
    ended_well = [pod for pod in pods if pod.ended is not None and pod.ended.exit_code == 0]
    return len(ended_well) == len(pods) == context.gang_size


def _pod_fault(context: DecisionContext) -> Fault | None:
    """The fault of a pod that explains those of the others."""
    per_pod = context.stage.ranks_per_pod(context.spec)
    found = ((pod, _of_present_launch(context, pod, pod_fault(pod, per_pod))) for pod in context.pods)
    first = worst((pod, failure_rules.judged(context, fault)) for pod, fault in found if fault is not None)
    return None if first is None else located(first, context.pods, per_pod)


def _of_present_launch(context: DecisionContext, pod: PodView, fault: Fault | None) -> Fault | None:
    """A pod's fault; one of an earlier launch of its ranks has been counted, and its launcher has not followed since.

    A report tells its launch where it tells its attempt, which that of an earlier release does not.
    """
    if fault is None or pod.ended is None or fault.remedy is not Remedy.RESTART:
        return fault
    told = context.stage.report.parse(pod.ended.message)
    if told is None or told.attempt is None or (told.launch or 0) >= context.launch:
        return fault
    message = f"pod {pod.name} ended before its launcher heard of launch {context.launch}: {fault.failure.message}"
    return fault_of(digest(pod, context.stage.ranks_per_pod(context.spec), NOT_LAUNCHED, one_line(message)))


def _fault_while_gathering(context: DecisionContext) -> Fault | None:
    """What is wrong with a gang that is not whole: a program is blamed only where it had met the others.

    A pod that is gone before its ranks were seen to start anew in it is lost as any: the others would not meet another.
    """
    if (fault := scheduling_gang.withdrawn(context)) is not None:
        return fault
    if context.launch and (missing := context.missing_pod) is not None:
        return fault_of(_lost_pod(context, missing))
    fault = _pod_fault(context)
    return room.incurable(context) if fault is None or fault.is_blamed else fault


def _fault_while_replacing(context: DecisionContext) -> Fault | None:
    """What is wrong with a gang that waits for a new pod, beside what has become of the one before it."""
    if (withdrawn := scheduling_gang.withdrawn(context)) is not None:
        return withdrawn
    rest = one_pod.without_replaced(context)
    return _fault_of_pods(rest, one_pod.missing_other(context)) or room.incurable(rest) or one_pod.late(context)


def _fault_of_pods(context: DecisionContext, missing: int | None) -> Fault | None:
    """A pod that is gone explains the failures of its peers as much as one that was disrupted does."""
    fault = _pod_fault(context)
    is_explained = missing is not None and (fault is None or fault.is_blamed)
    return fault_of(_lost_pod(context, missing)) if missing is not None and is_explained else fault


def _gang_fault(context: DecisionContext) -> Fault | None:
    """What is wrong with a gang by its own account, None while it is well."""
    if (withdrawn := scheduling_gang.withdrawn(context)) is not None:
        return withdrawn
    if (fault := _fault_of_pods(context, context.missing_pod)) is not None:
        return fault
    if context.status.phase == "Starting":
        return (
            room.incurable(context)
            or in_place.not_launched(context)
            or startup_deadline_seconds.late_gang(context)
            or training.abandoned(context)
            or _unseen_loss(context)
        )
    return _course(context).stall(context) or training.abandoned(context) or _unseen_loss(context)


def _lost_pod(context: DecisionContext, index: int) -> FailureStatus:
    """A pod that is gone."""
    name, per_pod = context.pod_name(index), context.stage.ranks_per_pod(context.spec)
    rank = index * per_pod if context.stage is stages.TRAINING else None
    return FailureStatus(reason=POD_LOST, message=f"pod {name} is gone", rank=rank, pod=name)


def _explained(context: DecisionContext, fault: Fault) -> Fault:
    """What explains a fault that would be the program's: a lost node, a faulty card; else the fault itself."""
    if (lost := _lost_node(context)) is not None:
        return lost
    known, annotation = context.observed.device_faults, context.settings.device_annotation
    per_pod = context.stage.ranks_per_pod(context.spec)
    pods = ((pod, known.get(pod.node or "", ())) for pod in context.pods)
    found = (card_fault(pod, per_pod, faults, annotation) for pod, faults in pods)
    explanation = next((card for card in found if card is not None), None)
    if explanation is None:
        return fault
    message = f"{explanation.failure.message}; seen as: {fault.failure.message}"
    told = explanation.failure.model_copy(update={"message": message, "log": fault.failure.log})
    return replace(explanation, failure=told)


def _lost_node(context: DecisionContext) -> Fault | None:
    """A node that does not answer explains that its ranks are silent and that their peers give up."""
    pod = next((pod for pod in context.pods if pod.node in context.observed.lost_nodes), None)
    if pod is None:
        return None
    message = f"node {pod.node} of pod {pod.name} is gone or does not answer"
    return fault_of(digest(pod, context.stage.ranks_per_pod(context.spec), NODE_LOST, message))


def _unseen_loss(context: DecisionContext) -> Fault | None:
    """A gang that cannot be reached is not to blame for it; where its node is lost, that is why."""
    return _lost_node(context) if context.is_out_of_sight else None


def _judge(context: DecisionContext, fault: Fault) -> Plan:
    """What follows from a fault of a gang that had room; what a card might explain waits until one would be told of."""
    fault = _explained(context, fault) if fault.is_blamed else fault
    left = _seconds_for_cards(context) if fault.may_be_a_cards else None
    return Plan(status=context.status, look_again_seconds=left) if left else _act_on(context, fault)


def _seconds_for_cards(context: DecisionContext) -> float | None:
    """Time left for MindX to tell of a card that explains a fault; without MindX nothing is waited for.

    Its device plugin looks at cards every 5 s (`-listWatchPeriod`), and a rank may die just after a look.
    """
    limit, observed = context.settings.check_seconds, context.observed
    if observed.cards_unread_since is not None or not observed.device_faults:
        return context.seconds_left(observed.cards_unread_since, limit)
    return settle_seconds.left_since_the_first_end(ladder.with_told_ends(context), limit)


def _act_on(context: DecisionContext, fault: Fault) -> Plan:
    """Ranks or pods start anew, or nothing helps any more."""
    fault = one_pod.excused(context, failure_rules.judged(context, fault))
    failure = fault.failure
    if fault.remedy is Remedy.FAIL:
        return _course(context).give_up(context, failure.reason, failure.message, failure)
    if fault.remedy is Remedy.LET_GO:
        paused = _with_next_attempt(_with_pause(context, failure), has_run=_has_run(context))
        return starting.start(paused.with_status(phase="Queued"))
    context, fault = most_uncounted_restarts.charged(context, fault)
    if (sentence := backoff_limit.exceeded(context, fault)) is not None:
        return _course(context).give_up(context, "BackoffLimitExceeded", sentence, failure)
    refused = _refused_attempts(context, fault)
    if refused >= context.settings.most_admission_errors:
        sentence = f"{refused} attempts in a row were refused: {failure.message}"
        return _course(context).give_up(context, failure.reason, sentence, failure)
    return _by_rung(context, fault, refused)


def _by_rung(context: DecisionContext, fault: Fault, refused: int) -> Plan:
    """What is started anew."""
    rung = ladder.rung_for(context, fault)
    restarted = _with_restart(ladder.begun(avoid_node_seconds.noted(context, fault), rung, fault), fault)
    if rung is ladder.Rung.IN_PLACE:
        return in_place.launch_again(restarted)
    if rung is ladder.Rung.ONE_POD and (place := one_pod.lost_alone(context, fault)) is not None:
        return starting.start(one_pod.begun(restarted, place))
    return starting.start(_with_new_pods(restarted, context).with_status(refused_attempts=refused))


def _resize(context: DecisionContext, pods: int, reason: str) -> Plan:
    """The gang goes on in another number of pods: it saves, leaves and starts anew, and nothing counts for it."""
    message = f"the gang goes on with {pods} of {context.spec.workers.replicas} pods"
    failure = FailureStatus(reason=reason, message=message)
    context = _with_pause(ladder.begun(context, ladder.Rung.ELASTIC, fault_of(failure)), failure)
    size = ElasticStatus(attempt=context.status.attempt, pods=pods, changed_at=context.now)
    context = _with_next_attempt(context.with_status(elastic=size), has_run=True)
    return starting.start(context.with_status(phase="Queued"))


def _refused_attempts(context: DecisionContext, fault: Fault) -> int:
    """Attempts in a row, this one included, that kubelets would not have for one reason."""
    before, reason = context.status.failure, fault.failure.reason
    if not fault.verdict.is_refusal:
        return 0
    return 1 + (context.status.refused_attempts if before is not None and before.reason == reason else 0)


def _with_restart(context: DecisionContext, fault: Fault) -> DecisionContext:
    """The context with another restart after a fault."""
    failure = fault.failure
    context = context.with_condition(
        context.stage.condition, truth=False, reason=failure.reason, message=failure.message
    )
    return context.with_status(
        phase="Restarting",
        restarts=context.status.restarts + 1,
        counted_restarts=context.status.counted_restarts + (fault.remedy is Remedy.RESTART),
        failure=failure,
    )


def _with_new_pods(context: DecisionContext, before: DecisionContext) -> DecisionContext:
    """The context of a gang that is restarted with other pods than before."""
    why = "the pods start anew"
    kinds = [*ROOM]
    if context.stage is stages.TRAINING and context.has_rank_table:
        kinds.append("RankTableReady")
    for kind in kinds:
        context = context.with_condition(kind, truth=False, reason="Restarting", message=why)
    return _with_next_attempt(context, has_run=_has_run(before)).with_status(rank_table=None)


def _with_pause(context: DecisionContext, failure: FailureStatus) -> DecisionContext:
    """The context of a gang that lets go of what it holds, and is asked for again."""
    kinds = [*ROOM]
    if context.status.phase == context.stage.at_work:
        kinds.append(context.stage.condition)
    if context.status.rank_table is not None:
        kinds.append("RankTableReady")
    for kind in kinds:
        context = context.with_condition(kind, truth=False, reason=failure.reason, message=failure.message)
    return context.with_status(rank_table=None)


def _has_run(context: DecisionContext) -> bool:
    """Whether a gang has been at work, perhaps before its ranks were started anew in their pods."""
    return context.status.phase == context.stage.at_work or context.launch > 0


def _with_next_attempt(context: DecisionContext, *, has_run: bool) -> DecisionContext:
    """The context with another attempt of the same size, which waits where the ones before it never ran."""
    attempt, size = context.status.attempt, context.status.elastic
    if one_pod.present(context) is not None:
        # It had room for all but one pod: it has not waited for room as a gang yet.
        context = context.with_condition("Scheduled", truth=None, reason="Restarting", message="the pods start anew")
    if size is not None and size.attempt == attempt:
        context = context.with_status(elastic=size.model_copy(update={"attempt": attempt + 1}))
    return context.with_status(
        attempt=attempt + 1,
        launch=0,
        replacement=None,
        vain_attempts=0 if has_run else context.status.vain_attempts + 1,
        refused_attempts=0,
        restarted_at=context.now,
        evaluation_progress=None,
    )
