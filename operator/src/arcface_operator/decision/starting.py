"""From nothing, or from the ruins of an attempt, to a gang of pods that has room."""

import zlib
from collections.abc import Iterable
from dataclasses import replace

from arcface_api.contract.rank_table import INITIALIZING
from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import EvaluationSpec
from arcface_api.resource.status import VerifiedSets
from arcface_operator.decision import ending, prerequisites, room, stages
from arcface_operator.decision.context import ROOM, DecisionContext, condition, true_since, waiting_since
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Action, Apply, Create, DryRunCreate, Plan, earliest
from arcface_operator.decision.policies import (
    avoid_node_seconds,
    min_replicas,
    scheduling_deadline_seconds,
    scheduling_gang,
)
from arcface_operator.decision.recovery import calls, one_pod
from arcface_operator.manifests import config_maps, evaluator_pod, gang, metadata, rank_table_size, worker_pod, workload
from arcface_operator.manifests.node_avoidance import avoiding
from arcface_operator.preflight.spec_checks import unsupported

SERVICE, NO_TABLE = "spec", "initializing"
"""What a Service, and a rank table that is not there yet, are made of."""
WATCHED_KINDS = frozenset({"Service", "ConfigMap"})
GROUP_SECONDS = 60.0
"""Gang schedulers' groups are not watched: their kinds come and go with the schedulers."""
MOST_DOUBLINGS = 30
"""Beyond any longest pause, and far from what a number of seconds can hold."""


def refusal(context: DecisionContext) -> str | None:
    """Why a job can never run, whatever it waits for; found before anything is taken."""
    return flaw(context) if context.status.phase in {None, "Suspended", "Pending"} else None


def flaw(context: DecisionContext) -> str | None:
    """What of the spec cannot be carried out; its evaluation may have changed since the job began."""
    if sentences := unsupported(context.spec):
        return "; ".join(sentences)
    if (sentence := rank_table_size.too_large_rank_table(context.spec)) is not None:
        return sentence
    try:
        worker_pod.build_worker_pod(context.job, 0, 0, context.settings)
        if context.spec.evaluation is not None:
            evaluator_pod.build_evaluator_pod(context.job, 0, context.settings)
    except InvalidInput as error:
        return str(error)
    return None


def begin(context: DecisionContext) -> DecisionContext:
    """The job is acted on for the first time, or again after it was suspended."""
    was_run = context.status.workers is not None
    context = with_fresh_stage(context, "the job is about to start")
    return context.with_status(
        phase="Pending",
        start_time=context.now,
        active_seconds=0,
        running_time=None,
        training_time=None,
        attempt=context.status.attempt + 1 if was_run else context.status.attempt,
        launch=0,
        replacement=None,
    )


def with_fresh_stage(context: DecisionContext, why: str) -> DecisionContext:
    """The context of a stage of which nothing is there yet and nothing is held against it."""
    for kind in ("Ready", context.stage.condition):
        context = context.with_condition(kind, truth=False, reason="Pending", message=why)
    # Pods of before may still be there: `start` says from when the wait for room counts.
    context = context.with_condition("Scheduled", truth=None, reason="Pending", message=why)
    if true_since(context.status, "RankTableReady") is not None:
        context = context.with_condition("RankTableReady", truth=False, reason="Pending", message=why)
    if condition(context.status, "Suspended") is not None:
        context = context.with_condition("Suspended", truth=False, reason="Resumed", message="the job is resumed")
    return context.with_status(vain_attempts=0, refused_attempts=0, rank_table=None, evaluation_progress=None)


def start(context: DecisionContext) -> Plan:
    """Remove pods of before, wait for what is needed, then create the pods and wait for room."""
    if old := (*context.old_pods, *one_pod.replaced(context)):
        return Plan(
            status=_with_lingerer(scheduling_deadline_seconds.put_off(context), old).status,
            actions=(*ending.removal(context, old), *calls.announcement(context)),
            look_again_seconds=earliest(ending.removal_seconds(context, old), one_pod.seconds_left(context)),
        )
    existing = {pod.index for pod in context.pods}
    missing = [index for index in range(context.gang_size) if index not in existing]
    if not missing:
        return _await_room(context)
    if not existing:
        is_free = _namesake(context) is None
        context = (scheduling_deadline_seconds.begun if is_free else scheduling_deadline_seconds.put_off)(context)
        context = scheduling_gang.noted(context)
        if (wait := _before_first_pod(context)) is not None:
            return wait
    elif (message := _unplaced(context)) is not None:
        return _await_placement(context, message)
    context = _with_defaults(context)
    # The pods' events come long before that, unless somebody keeps them from us.
    return Plan(
        status=_with_creation(context).status,
        actions=(*_creation(context, missing), *calls.announcement(context)),
        look_again_seconds=earliest(context.settings.check_seconds, one_pod.seconds_left(context)),
    )


def _await_room(context: DecisionContext) -> Plan:
    """Every pod is there: they start together once all of them have nodes, a new one among others once it runs."""
    if one_pod.is_under_way(context) and (why := one_pod.awaited(context)) is not None:
        return _await_new_pod(context, why)
    if not room.is_whole(context):
        for kind in ROOM:
            context = context.with_condition(kind, truth=False, reason="Queued", message=room.awaited(context))
        return Plan(status=context.with_status(phase="Queued").status)
    stage = context.stage
    for kind in ROOM:
        context = context.with_condition(kind, truth=True, reason=kind, message="all pods have nodes")
    why = f"the pods of the {stage.work} are starting"
    context = context.with_condition(stage.condition, truth=False, reason="Starting", message=why)
    since = context.now if one_pod.is_under_way(context) else context.status.restarted_at
    status = context.with_status(phase="Starting", restarted_at=since).status
    return Plan(status=status, look_again_seconds=context.settings.starting_poll_seconds)


def _await_new_pod(context: DecisionContext, why: str) -> Plan:
    """One pod is made anew and does not run yet; the others hear of it meanwhile."""
    for kind in ROOM:
        context = context.with_condition(kind, truth=False, reason=one_pod.REPLACING, message=why)
    return Plan(
        status=context.status,
        actions=calls.announcement(context),
        look_again_seconds=earliest(context.settings.check_seconds, one_pod.seconds_left(context)),
    )


def _before_first_pod(context: DecisionContext) -> Plan | None:
    """What keeps a job from taking anything yet; None where its first pod may be made."""
    if (wait := scheduling_gang.given_back(context)) is not None:
        return _queue(context, wait)
    if left := _back_off_seconds(context):
        message = f"attempt {context.status.attempt} waits: the one before it ended before it ran"
        return replace(_wait_for(context, "BackOff", message), look_again_seconds=left)
    if (pod := _namesake(context)) is not None:
        keeper = ending.lingering(context, [pod])
        message = f"pod {pod.name} of an earlier job of this name is to leave"
        return _wait_for(context, "PodsLeaving", message if keeper is None else f"{message}: {keeper}")
    if context.observed.prerequisites is None:
        # Looked at in the phase that is now begun, or once it can be read.
        return Plan(status=context.status, look_again_seconds=None if context.observed.unread else 0.0)
    if unmet := prerequisites.unmet_prerequisites(context.job, context.observed.prerequisites):
        return _wait_for(context, unmet[0].reason, "; ".join(item.message for item in unmet))
    wait = scheduling_gang.awaited(context)
    return None if wait is None else _queue(context, wait)


def _queue(context: DecisionContext, wait: scheduling_gang.Wait) -> Plan:
    """The job waits in Kueue's queue, and holds nothing."""
    # While pods of before hold its room it does not count as waiting, whatever Kueue says.
    for kind in ROOM if waiting_since(context.status) is not None else ROOM[:1]:
        context = context.with_condition(kind, truth=False, reason="Queued", message=wait.message)
    return Plan(
        status=context.with_status(phase="Queued").status,
        actions=(*_dry_runs(context), *wait.actions),
        look_again_seconds=context.settings.check_seconds,
    )


def _unplaced(context: DecisionContext) -> str | None:
    """Why it is not known where Kueue wants the rest of a gang; None where it is."""
    if any(workload.POD_GROUP_SIZE in pod.annotations for pod in context.pods):
        return None  # an earlier release made them: Kueue has admitted the pods themselves
    wait = scheduling_gang.awaited(context)
    return None if wait is None else wait.message


def _await_placement(context: DecisionContext, message: str) -> Plan:
    """The rest of a gang is not made: elsewhere it would be past Kueue's books, or find no room."""
    waiting = context.with_condition("Ready", truth=False, reason="Queued", message=message)
    return Plan(
        status=waiting.status,
        actions=calls.announcement(context),
        look_again_seconds=earliest(context.settings.check_seconds, one_pod.seconds_left(context)),
    )


def _namesake(context: DecisionContext) -> PodView | None:
    """A pod with the name of one of the gang's that is another job's; one of nobody's does not leave by itself."""
    names = {context.pod_name(index) for index in range(context.gang_size)}
    others = (pod for pod in context.observed.earlier if pod.owner is not None)
    return next((pod for pod in others if pod.name in names), None)


def _with_lingerer(context: DecisionContext, old: tuple[PodView, ...]) -> DecisionContext:
    """The context with a word on a pod that should be gone and is not."""
    message = ending.lingering(context, old)
    if message is None:
        return context
    return context.with_condition("Ready", truth=False, reason="PodsLeaving", message=message)


def _wait_for(context: DecisionContext, reason: str, message: str) -> Plan:
    """Something is not there yet; nothing is taken while it is missing."""
    waiting = context.with_condition("Ready", truth=False, reason=reason, message=message)
    return Plan(status=waiting.status, look_again_seconds=context.settings.check_seconds)


def _back_off_seconds(context: DecisionContext) -> float | None:
    """Time left before an attempt that follows a vain one may begin.

    Faults of the infrastructure are not counted: without a pause, a node that refuses every pod would get new ones for
    ever. Jobs that have let go for each other's sake must not come back together: each has a share of its own on top.
    """
    vain, began, settings = context.status.vain_attempts, context.status.restarted_at, context.settings
    if vain == 0:
        return None
    doubled = settings.restart_seconds * 2 ** min(vain - 1, MOST_DOUBLINGS)
    return context.seconds_left(began, min(doubled, settings.longest_restart_seconds) * (1 + _share(context)))


def _share(context: DecisionContext) -> float:
    """A number from 0 to 1 by which the attempts of different jobs differ."""
    return zlib.crc32(f"{context.job.metadata.uid} {context.status.attempt}".encode()) / 2**32


def _with_defaults(context: DecisionContext) -> DecisionContext:
    """The context with what the operator decides for the job, and for this attempt the image.

    A release that goes on with either may have other defaults.
    """
    workers = context.spec.workers
    if workers.accelerator == "ascend":
        context = context.with_status(resource_name=workers.device_resource)
    if context.pods and context.status.image is not None:
        return context
    image = context.spec.image or context.settings.trainer_image
    return context.with_status(image=image, verified=_verified(context))


def _verified(context: DecisionContext) -> VerifiedSets | None:
    """What the ranks of the present attempt are to verify."""
    wish, attempt = context.spec.evaluation, context.status.attempt
    if context.stage is not stages.TRAINING:
        return None
    if wish is None or wish.every_epochs is None:
        return VerifiedSets(attempt=attempt)
    return VerifiedSets(
        attempt=attempt, claim_name=wish.claim_name, path=wish.path, sets=wish.sets, every_epochs=wish.every_epochs
    )


def _job_as_told(context: DecisionContext) -> ArcFaceTrainingJob:
    """The job as the pods of its present attempt know it; its user may wish for another evaluation meanwhile.

    Else a pod that is made later would lack the sets of its peers, or verify others. An earlier release has not noted
    what it told. Of the rest of a spec that may change, pods are told stallSeconds alone, by which each of them judges
    its own ranks: it need not be the same in all.
    """
    job, told = context.job, context.status.verified
    if context.stage is not stages.TRAINING or told is None or told.attempt != context.status.attempt:
        return job
    known = told.model_dump(exclude={"attempt"})
    evaluation = None if told.claim_name is None else EvaluationSpec.model_validate(known)
    return job.model_copy(update={"spec": job.spec.model_copy(update={"evaluation": evaluation})})


def _with_creation(context: DecisionContext) -> DecisionContext:
    """Storage, names and spec are in order."""
    why = "storage and spec are in order, the pods are being made"
    return context.with_condition("Ready", truth=False, reason="Creating", message=why)


def _creation(context: DecisionContext, missing: list[int]) -> tuple[Action, ...]:
    """What the pods need, then the pods."""
    built = _built(context, context.stage.build_pod, missing)
    pods = [Create(calls.with_call(context, pod)) for pod in built]
    return (*(Apply(manifest) for manifest in _to_be_written(context)), *_dry_runs(context), *pods)


def _built(context: DecisionContext, build: stages.PodBuilder, indices: list[int]) -> Iterable[metadata.Manifest]:
    """Pods of the present attempt, where queue and faults want them."""
    avoided, attempt = avoid_node_seconds.names(context), context.status.attempt
    placement = None if context.observed.queue is None else context.observed.queue.placement
    settings = context.settings.model_copy(update={"trainer_image": context.status.image})
    job = _job_as_told(context)
    pods = (workload.with_placement(build(job, index, attempt, settings), placement) for index in indices)
    return (avoiding(pod, avoided) for pod in pods)


def look_for_room(context: DecisionContext) -> tuple[Action, ...]:
    """Spare pods beside a gang at work that has fewer pods than it should have."""
    queue = context.observed.queue
    if context.spec.scheduling.gang == "kueue" and (queue is None or queue.placement is None):
        return ()  # it is not known where they would have to go
    pods = _built(context, worker_pod.build_spare_pod, min_replicas.missing_spares(context))
    return tuple(Create(pod, "FullSize") for pod in pods)


def _to_be_written(context: DecisionContext) -> list[metadata.Manifest]:
    """Objects that must be there before pods; the configuration of an attempt is written once, whoever goes on."""
    config, attempt = metadata.config_name(context.job.metadata.name), str(context.status.attempt)
    is_written = context.observed.written(config) == attempt
    return [item for item in _before_pods(context) if not (is_written and item["metadata"]["name"] == config)]


def _dry_runs(context: DecisionContext) -> tuple[Action, ...]:
    """A misspelt field in the evaluator's template is better found now than after the training."""
    evaluation = context.spec.evaluation
    is_due = context.stage is stages.TRAINING and context.status.phase == "Pending"
    if not is_due or evaluation is None or evaluation.template is None:
        return ()
    return (DryRunCreate(evaluator_pod.build_trial(context.job, context.settings)),)


def repairs(context: DecisionContext, planned: Iterable[Action]) -> tuple[Action, ...]:
    """What somebody has deleted or changed of a gang whose pods are there, but for what is written anyway.

    What an older release has written stays as it is.
    """
    if context.missing_pod is not None:
        return ()
    busy = {action.manifest["metadata"]["name"] for action in planned if isinstance(action, Apply)}
    lost = [item for item in _before_pods(context) if _is_lost(context, item)]
    table = metadata.rank_table_name(context.job.metadata.name)
    return tuple(
        Apply(item, "RankTableReady" if item["metadata"]["name"] == table else "Ready")
        for item in lost
        if item["metadata"]["name"] not in busy
    )


def _is_lost(context: DecisionContext, needed: metadata.Manifest) -> bool:
    """Whether what pods need is known not to be there as it was written."""
    name, groups = needed["metadata"]["name"], context.observed.groups
    if needed["kind"] in WATCHED_KINDS:
        return context.observed.objects is not None and context.observed.written(name) is None
    return groups is not None and name not in groups


def group_seconds(context: DecisionContext) -> float | None:
    """When to see whether a gang in the queue has its scheduler's group, without which no scheduler looks at it."""
    return (
        GROUP_SECONDS
        if context.status.phase == "Queued" and context.job.spec.scheduling.gang in gang.POD_GROUP_VERSIONS
        else None
    )


def _before_pods(context: DecisionContext) -> list[metadata.Manifest]:
    """Objects that must be there when a pod starts."""
    job = _job_as_told(context)
    attempt, image = context.status.attempt, context.status.image
    needed = [metadata.sealed(config_maps.build_config_map(job, attempt, image), str(attempt))]
    if context.stage is stages.TRAINING:
        needed.insert(0, metadata.sealed(worker_pod.build_service(job), SERVICE))
        if context.has_rank_table:
            table = config_maps.build_rank_table_map(job, INITIALIZING, context.now, context.settings)
            needed.append(metadata.sealed(table, NO_TABLE))
    group = gang.build_pod_group(context.job, context.stage.gang(context.job), context.settings)
    return needed if group is None else [*needed, group]
