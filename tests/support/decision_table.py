"""Tables of what follows from what is seen.

A row of a table is an observation in words, with what differs from the state in which all goes well; its cells are what
follows in each of the ten phases (no phase yet is `none`). Rows look like this:

    *row("all is well", waiting="Ready=Ready apply:service,config create:0,1")
    *row("one pod crashed", {"pods": ...}, gang="Restarting +counted failure:Error@1 delete:0", ended="delete:0")

Cells are given by group: `waiting` (None, Suspended, Pending, Queued, Restarting), `gang` (Starting, Training),
`evaluating`, `ended` (Succeeded, Failed). A phase's own name in small letters overrides its group's. What a group's
cell says of a suspended job is that and `+resume`, since such a job begins another attempt; a cell `suspended=` says
all of it itself.

A cell is words in any order, but for the order of actions. Every word is of one of these kinds, or the test fails:

    phase       Restarting              the phase afterwards
                same                    the phase stays, also where a job is unborn or suspended
                (none)                  an unborn or suspended job becomes Pending, every other phase stays
    attempt     +counted                a new attempt after a fault that counts against backoffLimit
                +free                   a new attempt after one that does not
                *counted, *free         the same, in the attempt that is there
                +resume                 a new attempt without a restart, after a suspension
                +next                   the same, in another stage or since there was no room
                (none)                  attempt, restarts and counted restarts stay
    condition   Ready=Ready             it holds, for this reason
                !Ready=Queued           it does not hold, for this reason
                (none)                  conditions without a word are not looked at, but none may contradict the phase
    failure     failure:OOMKilled@1     the digest in the status: reason and rank
                failure:InvalidInput    a digest without a rank
                (none)                  the digest stays; a job that has just failed has one of the reason of `Failed=`
    action      apply:service,config    objects applied; also podgroup, table (rank table), no-table (taken back)
                try:evaluator           the evaluator's template tried
                create:0,evaluator      rank pods by their index, or the evaluator
                delete:0,evaluator      the same deleted; also job and group (the gang scheduler's)
                hurry:0                 rank pods deleted that have nothing to save, since a peer is dead
                force:0,evaluator       pods deleted without grace
                annotate:0,1            rank pods annotated
                (none)                  nothing is done

Actions are all that the plan has, in the order of its words, but for events: there is one, exactly where the phase or
the attempt changes. So an empty cell says that nothing is done, fails or begins anew, and that the phase stays (Pending
for an unborn or suspended job).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest

from arcface_api.contract.rank_table import INITIALIZING
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.status import ArcFaceTrainingJobStatus, Condition, ConditionType, FailureStatus, WorkersStatus
from arcface_operator.decision.evaluation import evaluation_hash
from arcface_operator.decision.observation import Observation, PodView
from arcface_operator.decision.plan import (
    Action,
    Annotate,
    Apply,
    Create,
    Delete,
    DeleteJob,
    DeletePodGroup,
    DryRunCreate,
    EmitEvent,
    Plan,
)
from support.builders.views import (
    THE_JOBS,
    ago,
    make_ended,
    make_evaluator,
    make_prerequisites,
    make_report,
    make_worker,
    stored,
)

GROUPS: dict[Any, str] = {
    **dict.fromkeys((None, "Suspended", "Pending", "Queued", "Restarting"), "waiting"),
    **dict.fromkeys(("Starting", "Training"), "gang"),
    "Evaluating": "evaluating",
    **dict.fromkeys(("Succeeded", "Failed"), "ended"),
}
HELD = {"Starting", "Training", "Evaluating", "Succeeded", "Failed"}
"""Phases in which a job has, or had, room for its gang."""
VERBS = {"apply", "try", "create", "delete", "hurry", "force", "annotate"}
NEW_ATTEMPTS = {
    "+counted": (1, 1, 1),
    "+free": (1, 1, 0),
    "*counted": (0, 1, 1),
    "*free": (0, 1, 0),
    "+resume": (1, 0, 0),
    "+next": (1, 0, 0),
}
"""What is added to attempt, restarts and counted restarts."""


def row(name: str, seen: Mapping[str, Any] | None = None, *, spec: Any = None, status: Any = None, **cells: str) -> Any:
    """One observation in all phases, as parameters of a test that ends in `assert_cell`.

    Args:
        name: the observation in words.
        seen: fields of the Observation that differ from what is there when all goes well; pods count their attempt
            from the job's. `evaluator` is the evaluator's pod, which is there in Evaluating unless it is None.
        spec: fields of the job's spec.
        status: fields of its status.
        cells: what follows, by phase or group of phases.
    """
    params = []
    for phase, group in GROUPS.items():
        key = str(phase).lower()
        cell = cells.get(key, cells.get(group, "") + (" +resume" if phase == "Suspended" else ""))
        params.append(pytest.param(phase, seen or {}, spec or {}, status or {}, cell, id=f"{name} in {phase}"))
    return params


def status_in(phase: Any, **changes: Any) -> ArcFaceTrainingJobStatus:
    """The status of a job that has been restarted twice, once for a fault that counts."""
    if phase is None:
        return ArcFaceTrainingJobStatus()
    is_ended, is_trained = phase in {"Succeeded", "Failed"}, phase in {"Evaluating", "Succeeded"}
    held = {"Ready": ago(60 if phase == "Starting" else 4000)} if phase in HELD else {}
    if phase == "Training":
        held["Training"] = ago(3000)
    if is_ended:
        held["Complete" if phase == "Succeeded" else "Failed"] = ago(100)
    default = {
        "phase": phase,
        "conditions": [
            Condition(type=kind, status="True", reason="Test", message="", last_transition_time=since)
            for kind, since in sorted(held.items())
        ],
        "attempt": 2,
        "restarts": 2,
        "counted_restarts": 1,
        "start_time": None if phase == "Suspended" else ago(1000),
        "training_completion_time": ago(300) if is_trained else None,
        "evaluation_hash": THE_JOBS if is_trained else None,
        "completion_time": ago(100) if is_ended else None,
        "workers": WorkersStatus(desired=2),
        "progress": make_report(7, updated_at=ago(50)).progress if phase == "Training" else None,
        "failure": FailureStatus(reason="Before", message="of an earlier attempt"),
    }
    return ArcFaceTrainingJobStatus(**{**default, **changes})


def observation_in(phase: Any, job: ArcFaceTrainingJob, seen: Mapping[str, Any]) -> Observation:
    """What is there in a phase when all goes well, but for what a row gives."""
    group = GROUPS[phase]
    gang = {"gang": make_worker, "evaluating": make_done, "ended": make_ended}.get(group)
    default = {
        "pods": () if gang is None else (gang(0), gang(1)),
        "evaluator": make_evaluator() if phase == "Evaluating" else None,
        "prerequisites": make_prerequisites() if group == "waiting" else None,
    }
    fields = {**default, **seen}
    evaluator = fields.pop("evaluator")
    pods = (*fields.pop("pods"), *(() if evaluator is None else (evaluator,)))
    pods = tuple(replace(pod, attempt=pod.attempt + job.status.attempt) for pod in pods)
    if job.status.evaluation_hash == THE_JOBS:
        status = job.status.model_copy(update={"evaluation_hash": evaluation_hash(job)})
        job = job.model_copy(update={"status": status})
    return Observation(job=job, pods=pods, **fields)


def make_done(index: int) -> PodView:
    """A rank pod of the attempt that completed the training: the evaluation is another attempt."""
    return make_ended(index, -1)


def action_word(action: Action) -> str | None:
    """An action in the words of a cell; None for an event."""
    match action:
        case Apply(manifest):
            names = {"quick-config": "config", "rings-config-quick": "table"}
            name = names.get(manifest["metadata"]["name"], manifest["kind"].lower())
            is_empty = manifest.get("data", {}).get("hccl.json") == INITIALIZING
            return f"apply:{'no-' if is_empty else ''}{name}"
        case Create(manifest):
            return f"create:{short_name(manifest['metadata']['name'])}"
        case Delete():
            verb = {None: "delete", 0: "force", 10: "hurry"}[action.grace_seconds]
            return f"{verb}:{short_name(action.name)}"
        case Annotate():
            return f"annotate:{short_name(action.name)}"
    others = {DryRunCreate: "try:evaluator", DeletePodGroup: "delete:group", DeleteJob: "delete:job"}
    return others.get(type(action))


def short_name(pod: str) -> str:
    """Index of a rank pod, or the evaluator."""
    return "evaluator" if pod.endswith("-evaluate") else pod[-1]


def assert_cell(plan: Plan, cell: str, before: ArcFaceTrainingJobStatus) -> None:
    """The plan is what a cell says, and nothing else."""
    words, after = cell.split(), stored(plan.status)
    assert [word for word in words if not is_known(word)] == []
    assert after == plan.status
    assert after.phase == phase_in(words, before.phase)
    verbs = [word.split(":") for word in words if word.split(":")[0] in VERBS]
    actions = [f"{verb}:{name}" for verb, names in verbs for name in names.split(",")]
    assert [word for action in plan.actions if (word := action_word(action))] == actions
    added = next((counts for word, counts in NEW_ATTEMPTS.items() if word in words), (0, 0, 0))
    assert added == tuple(new - old for new, old in zip(counters(after), counters(before), strict=True))
    truths = {
        item.type: f"{'' if item.status == 'True' else '!'}{item.type}={item.reason}" for item in after.conditions
    }
    assert {word for word in words if "=" in word} <= set(truths.values())
    failure = next((word.removeprefix("failure:") for word in words if word.startswith("failure:")), None)
    if failure is None and after.phase == "Failed" != before.phase:
        assert after.failure is not None
        assert f"Failed={after.failure.reason}" in words
    elif failure is None:
        assert after.failure == before.failure
    else:
        reason, _, rank = failure.partition("@")
        assert after.failure is not None
        assert (after.failure.reason, after.failure.rank) == (reason, int(rank) if rank else None)
    assert_tells_the_truth(after)
    events = [item for item in plan.actions if isinstance(item, EmitEvent)]
    assert len(events) == ((after.phase, after.attempt) != (before.phase, before.attempt))
    assert all((event.type == "Warning") == (after.phase in {"Failed", "Restarting"}) for event in events)


def is_known(word: str) -> bool:
    """Whether a word is of one of the kinds above."""
    is_condition = word.partition("=")[0].removeprefix("!") in get_args(ConditionType) and "=" in word
    is_phase = word == "same" or word in GROUPS
    return is_phase or is_condition or word in NEW_ATTEMPTS or word.partition(":")[0] in VERBS | {"failure"}


def phase_in(words: list[str], before: Any) -> Any:
    """The phase that a cell names or means."""
    named = next((word for word in words if word in GROUPS or word == "same"), None)
    if named == "same":
        return before
    return named or ("Pending" if before in {None, "Suspended"} else before)


def counters(status: ArcFaceTrainingJobStatus) -> tuple[int, int, int]:
    """What never falls."""
    return status.attempt, status.restarts, status.counted_restarts


def assert_tells_the_truth(status: ArcFaceTrainingJobStatus) -> None:
    """No condition contradicts the phase."""
    held = {item.type for item in status.conditions if item.status == "True"}
    assert ("Training" in held) == (status.phase == "Training")
    assert ("Complete" in held) == (status.phase == "Succeeded")
    assert ("Failed" in held) == (status.phase == "Failed")
    assert (status.completion_time is not None) == (status.phase in {"Succeeded", "Failed"})
