"""Operators that are not as they should be: with a clock that is off, or wrong in one respect.

A forked operator (`release_program`) runs this file where OPERATOR_CHANGES names it, and becomes what OPERATOR_IS says.
The wrong ones prove that those who watch operators would notice.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from arcface_operator.controller import operator, reconciler
from arcface_operator.decision import plan as planned, prerequisites
from arcface_operator.decision.context import condition
from arcface_operator.decision.observation import ClaimView, Prerequisites
from arcface_operator.kubernetes import client, executor

ENDED = {"Succeeded", "Failed"}
Decide = Callable[..., planned.Plan]
Wrong = Callable[[Decide, Any, Any, Any], planned.Plan]


def with_status(plan: planned.Plan, **changes: Any) -> planned.Plan:
    """The plan with another status."""
    return replace(plan, status=plan.status.model_copy(update=changes))


def with_truth(plan: planned.Plan, kind: str, **changes: Any) -> planned.Plan:
    """The plan with a status in which a condition holds."""
    conditions = [
        item.model_copy(update={"status": "True"}) if item.type == kind else item for item in plan.status.conditions
    ]
    return with_status(plan, conditions=conditions, **changes)


def counts_twice(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A restart that counts is counted twice."""
    plan = decide(observed, settings, now)
    new = plan.status.counted_restarts - observed.job.status.counted_restarts
    return with_status(plan, counted_restarts=plan.status.counted_restarts + max(0, new))


def counts_nothing(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """No restart is ever counted."""
    return with_status(decide(observed, settings, now), counted_restarts=observed.job.status.counted_restarts)


def forgets_the_checkpoint(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A restart loses what is known of the checkpoint."""
    plan = decide(observed, settings, now)
    return with_status(plan, checkpoint=None) if plan.status.restarts > observed.job.status.restarts else plan


def does_not_wait_for_old_pods(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """Pods of another attempt are not looked at; those of the next want for nothing and have names of their own."""
    attempt = observed.job.status.attempt
    pods = tuple(pod for pod in observed.pods if pod.attempt == attempt)
    bound = dict.fromkeys(prerequisites.claims_of(observed.job), ClaimView("Bound", ("ReadWriteMany",)))
    there = observed.prerequisites or Prerequisites(claims=bound, devices=None)
    plan = decide(replace(observed, pods=pods, prerequisites=there), settings, now)
    return replace(plan, actions=tuple(_renamed(action, plan.status.attempt) for action in plan.actions))


def _renamed(action: Any, attempt: int) -> Any:
    if not isinstance(action, planned.Create) or not attempt:
        return action
    metadata = action.manifest["metadata"]
    return planned.Create({**action.manifest, "metadata": {**metadata, "name": f"{metadata['name']}-{attempt}"}})


def is_suspended_early(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A job is called suspended before its pods have left."""
    plan = decide(observed, settings, now)
    found = condition(plan.status, "Suspended")
    if found is None or found.reason != "Suspending":
        return plan
    return with_truth(plan, "Suspended", phase="Suspended")


def has_its_table_early(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A rank table is called ready before it is."""
    return with_truth(decide(observed, settings, now), "RankTableReady")


def leaves_the_end(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A job that has ended is taken up again."""
    plan = decide(observed, settings, now)
    return with_status(plan, phase="Restarting") if observed.job.status.phase in ENDED else plan


def writes_at_rest(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A job that has ended is written again at each look."""
    plan = decide(observed, settings, now)
    if plan.status.phase not in ENDED:
        return plan
    told = [item.model_copy(update={"message": str(time.time())}) for item in plan.status.conditions]
    return replace(with_status(plan, conditions=told), look_again_seconds=0.1)


def skips_the_evaluation(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A job succeeds as soon as it is to be evaluated."""
    plan = decide(observed, settings, now)
    if plan.status.training_completion_time is None or plan.status.phase in ENDED:
        return plan
    done = condition(plan.status, "CheckpointAvailable").model_copy(update={"type": "Complete"})
    kept = [item for item in plan.status.conditions if item.type != "Complete"]
    return with_status(plan, phase="Succeeded", conditions=[*kept, done])


def restarts_for_nothing(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A training that goes well is started anew, once."""
    plan = decide(observed, settings, now)
    if plan.status.phase != "Starting" or plan.status.attempt:
        return plan
    return with_status(plan, phase="Restarting", restarts=1, attempt=1)


def counts_ranks_twice(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """A restart in place counts twice."""
    plan = decide(observed, settings, now)
    is_in_place = plan.status.launch > observed.job.status.launch
    return with_status(plan, counted_restarts=plan.status.counted_restarts + 1) if is_in_place else plan


def calls_each_rung_in_place(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """Ranks alone are said to be started anew, also where a pod is."""
    plan = decide(observed, settings, now)
    told = [each.model_copy(update={"rung": "InPlace"}) for each in plan.status.recoveries]
    return with_status(plan, recoveries=told)


def never_recovers(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """No recovery ever comes to its end."""
    plan = decide(observed, settings, now)
    told = [each.model_copy(update={"seconds": None, "steps_lost": None}) for each in plan.status.recoveries]
    return with_status(plan, recoveries=told)


def never_grows_back(decide: Decide, observed: Any, settings: Any, now: Any) -> planned.Plan:
    """No gang that is small looks for room."""
    return decide(observed, settings.model_copy(update={"grow_seconds": 1e9}), now)


def leave_something_behind() -> None:
    """With the pods comes a ConfigMap that belongs to nobody."""
    create = executor.ActionExecutor._create

    async def create_two(self: executor.ActionExecutor, job: Any, manifest: Any) -> None:
        await create(self, job, manifest)
        metadata = {name: manifest["metadata"][name] for name in ("namespace", "labels")}
        left = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "name": "left-behind"}}
        await self._unless_there(self.api.create(left, client.CreateMode.STRICT))

    executor.ActionExecutor._create = create_two


WRONG: dict[str, Wrong] = {
    wrong.__name__: wrong
    for wrong in (
        counts_twice,
        counts_nothing,
        forgets_the_checkpoint,
        does_not_wait_for_old_pods,
        is_suspended_early,
        has_its_table_early,
        leaves_the_end,
        writes_at_rest,
        skips_the_evaluation,
        restarts_for_nothing,
        counts_ranks_twice,
        calls_each_rung_in_place,
        never_recovers,
        never_grows_back,
    )
}
LEAVES_SOMETHING = leave_something_behind.__name__


def become(what: str) -> None:
    """Be wrong in a respect, or have a clock that is so many seconds ahead."""
    if what == LEAVES_SOMETHING:
        leave_something_behind()
    elif what in WRONG:
        decide = reconciler.decide
        reconciler.decide = lambda *seen: WRONG[what](decide, *seen)
    else:
        ahead = timedelta(seconds=float(what))
        operator._utc_now = lambda: datetime.now(UTC).replace(microsecond=0) + ahead


if __name__ == "<run_path>":
    become(os.environ["OPERATOR_IS"])
