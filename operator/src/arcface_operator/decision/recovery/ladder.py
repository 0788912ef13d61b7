"""The ladder: what is started anew after a fault of a gang, and `status.recoveries`, what came of it the last times.

The highest rung that may help is taken, each falls to the next. Ranks that are started anew in their pods keep nodes,
cards, addresses and rank table. That helps against what befell a process and against nothing else. A pod that is lost
while all others go on is made anew alone. Neither is tried twice without a new step between.

What launchers say of their ranks while their pods go on is taken as the ends of those pods. So every rule on faults
holds for it: which explains which, whose doing it is, how long peers are waited for.
"""

from dataclasses import dataclass, replace
from enum import Enum

from arcface_api.contract.launcher_words import PodWord
from arcface_api.contract.reports import TrainerReport
from arcface_api.resource.status import MOST_RECOVERIES, ArcFaceTrainingJobStatus, Recovery
from arcface_operator.decision import stages
from arcface_operator.decision.context import DecisionContext, latest, true_since
from arcface_operator.decision.fault_table.table import Blame
from arcface_operator.decision.faults import Fault
from arcface_operator.decision.observation import Ended, PodView
from arcface_operator.decision.recovery import one_pod


class Rung(Enum):
    """What is started anew, in the words of `status.recoveries`."""

    IN_PLACE = "InPlace"
    """The ranks of all pods; the pods stay."""
    ONE_POD = "OnePod"
    """A pod, and the ranks of all pods; the other pods stay."""
    WHOLE_GANG = "WholeGang"
    """All pods."""
    ELASTIC = "Elastic"
    """All pods, in another number, since there is no room for as many, or for more again."""


STAYING = frozenset({Rung.IN_PLACE.value, Rung.ONE_POD.value})
"""Rungs on which all or most pods stay."""
SILENCE_SECONDS = 60.0
"""Without an answer of pod 0's launcher until nobody is taken to hear it.

From a question that came to nothing to the answer of the next one it may take a pause of 30 s, 2 s for a connection and
20 s for a newer word.
"""


@dataclass(frozen=True, kw_only=True)
class GangState:
    """What of a gang decides about the rung."""

    is_at_work: bool
    """Whether its ranks have begun to work in the present launch."""
    is_told: bool
    """Whether a launcher says that its ranks have ended, and waits for what is done about it."""
    is_whole: bool
    """Whether all of its pods run and none of them leaves."""
    has_lost_one: bool
    """Whether all but one of its pods go on, and another may take the place of that one."""
    is_unheard: bool
    """Whether nobody hears its launchers, which then end their pods with their ranks."""
    was_in_vain: bool
    """Whether its ranks were started anew with all or all but one of their pods, and no new step was seen since."""


def rung_of(blame: Blame, gang: GangState) -> Rung:
    """The rung to take."""
    if not gang.is_at_work or gang.is_unheard or gang.was_in_vain or blame is Blame.JOB:
        return Rung.WHOLE_GANG
    if gang.has_lost_one:
        return Rung.ONE_POD
    may_help = blame is Blame.PROGRAM and gang.is_told and gang.is_whole
    return Rung.IN_PLACE if may_help else Rung.WHOLE_GANG


def rung_for(context: DecisionContext, fault: Fault) -> Rung:
    """The rung to take for a fault of a gang."""
    if not context.settings.restarts_in_place:
        return Rung.WHOLE_GANG
    return rung_of(fault.verdict.blame, _state(context, fault))


def _state(context: DecisionContext, fault: Fault) -> GangState:
    """The gang as it is."""
    last = context.status.recoveries[-1] if context.status.recoveries else None
    return GangState(
        is_at_work=context.status.phase == context.stage.at_work,
        is_told=bool(told_failures(context)),
        is_whole=context.missing_pod is None and all(pod.goes_on for pod in context.pods),
        has_lost_one=one_pod.lost_alone(context, fault) is not None,
        is_unheard=_is_unheard(context),
        was_in_vain=is_open(context.status) and last is not None and last.rung in STAYING,
    )


def _is_unheard(context: DecisionContext) -> bool:
    """Whether pod 0 runs and its launcher does not answer: the network is in between, or it is of an earlier release.

    Where pod 0 is the lost one, nobody is asked, and its peers wait for the call that makes it anew.
    """
    heard, watched = context.observed.words, context.observed.watched_since
    if watched is None or not any(pod.index == 0 and pod.goes_on for pod in context.pods):
        return False
    at_work = true_since(context.status, "Training")
    return context.is_past(latest(watched, at_work, None if heard is None else heard.last_at), SILENCE_SECONDS)


def told_failures(context: DecisionContext) -> tuple[PodWord, ...]:
    """Words of the present launch that tell of ranks that have ended."""
    heard = context.observed.words
    if heard is None or context.stage is not stages.TRAINING:
        return ()
    place = context.job.metadata.uid, context.status.attempt, context.launch
    return tuple(word for word in heard.gang.failures if (word.job_uid, word.attempt, word.launch) == place)


def with_told_ends(context: DecisionContext) -> DecisionContext:
    """The context in which pods whose launchers tell of failed ranks have ended by that; only to judge them by."""
    told = told_failures(context)
    if not told:
        return context
    pods = tuple(_ended(context, pod, told) for pod in context.observed.pods)
    return replace(context, observed=replace(context.observed, pods=pods))


def _ended(context: DecisionContext, pod: PodView, told: tuple[PodWord, ...]) -> PodView:
    """The pod as it would be, had its launcher ended with its ranks."""
    is_present = (pod.component, pod.attempt) == (context.stage.component, context.status.attempt)
    if pod.ended is not None or not is_present:
        return pod
    first = pod.index * context.stage.ranks_per_pod(context.spec)
    failure = next((word.failure for word in told if word.rank == first), None)
    if failure is None or context.observed.words is None:
        return pod
    at = context.observed.words.at
    return replace(pod, ended=Ended(failure.exit_code or 1, "Error", TrainerReport(failure=failure).to_json(), at))


def begun(context: DecisionContext, rung: Rung, fault: Fault) -> DecisionContext:
    """The context in which a fault of a training is being recovered from."""
    if context.stage is not stages.TRAINING:
        return context
    progress = context.status.progress
    steps = [0 if progress is None else progress.step, *(word.step or 0 for word in told_failures(context))]
    new = Recovery(rung=rung.value, cause=fault.failure.reason, since=context.now, step=max(steps))
    return context.with_status(recoveries=[*context.status.recoveries, new][-MOST_RECOVERIES:])


def closed(context: DecisionContext, report: TrainerReport) -> DecisionContext:
    """The context in which the newest recovery is over, by a step that none was before it, or since none is left.

    A suspension in between is not of its time, which then is that of the resumption.
    """
    known, progress = context.status.recoveries, report.progress
    if not known or known[-1].seconds is not None or progress is None:
        return context
    resumed = 0 if report.checkpoint is None else report.checkpoint.resumed_from_step or 0
    if progress.step <= resumed and not stages.is_trained(context.status):
        return context
    last = known[-1]
    lost = None if last.step is None else max(0, last.step - resumed)
    seconds = (context.now - max(last.since, context.status.start_time or last.since)).total_seconds()
    over = last.model_copy(update={"seconds": max(0.0, seconds), "steps_lost": lost})
    return context.with_status(recoveries=[*known[:-1], over])


def is_open(status: ArcFaceTrainingJobStatus) -> bool:
    """Whether no step has been told of yet since the newest recovery."""
    return bool(status.recoveries) and status.recoveries[-1].seconds is None
