"""A job that is trained: its evaluator absent, queued, running, ended or of an older wish, in every phase."""

import hashlib
import json
from typing import Any

import pytest

from arcface_api.contract.pod_environment import EVALUATE_AGAIN_ANNOTATION
from arcface_api.contract.reports import EvaluatorReport, ReportedFailure
from arcface_api.resource.status import Condition, EvaluationProgress, EvaluationStatus
from arcface_operator.decision.decide import decide
from arcface_operator.decision.evaluation import evaluation_hash
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Plan
from support.builders.jobs import make_job
from support.builders.views import (
    NOW,
    SETTINGS,
    THE_JOBS,
    ago,
    evaluator_report,
    make_ended,
    make_evaluator,
    refused_action,
)
from support.decision_table import action_word, assert_cell, make_done, observation_in, row, status_in

EVALUATION = {"claimName": "sets", "sets": ["lfw"]}
GATED = {"evaluation": {**EVALUATION, "gates": [{"metric": "lfw.accuracy", "min": 0.99}]}}
TRAINED = {"training_completion_time": ago(300), "evaluation_hash": THE_JOBS}
RANKS = (make_done(0), make_done(1))
REPORT = evaluator_report(0.99)
DONE, RUNS = make_evaluator(0, REPORT), make_evaluator()
WAITS = {"phase": "Pending", "node": None, "is_ready": False, "waiting": "Unschedulable: 0/3 nodes"}
LOST = {"lost_nodes": frozenset({"node-0"})}


def stage(
    name: str, evaluator: PodView | None, *, seen: Any = None, spec: Any = None, status: Any = None, **cells: str
) -> list[Any]:
    """A row about the evaluator's pod, beside ranks that have ended well, in the phases that a trained job may be in.

    `course` is what follows in Starting and Evaluating; a pod that has a node starts in the waiting phases.
    """
    course = cells.pop("course", "")
    own = {"waiting": "Starting", "suspended": "+resume delete:evaluator", "starting": course, "evaluating": course}
    found = {"pods": RANKS, "evaluator": evaluator, **(seen or {})}
    params = row(name, found, spec=spec, status={**TRAINED, **(status or {})}, **{**own, **cells})
    return [param for param in params if param.values[0] not in {None, "Training"}]


SUCCEEDED = "Succeeded Evaluated=Evaluated Complete=Succeeded !Failed=Succeeded"
MISSED = "Failed Evaluated=Evaluated !GatesPassed=GateMissed Failed=GateMissed !Complete=GateMissed"
NO_REPORT = "Failed !Evaluated=NoReport Failed=EvaluationFailed"
FAILED = "Failed !Evaluated=EvaluationFailed Failed=EvaluationFailed !Complete=EvaluationFailed"
OPENED = "Pending +next !Evaluated=Pending !Ready=Pending"
NO_MORE = {"runPolicy": {"backoffLimit": 1}}


def again(count: str, reason: str, action: str = "delete:evaluator") -> str:
    """The evaluator starts anew."""
    return f"Restarting {count} !Evaluated={reason} failure:{reason} {action}"


ROWS = [
    *stage(
        "not there",
        None,
        waiting="!Ready=Creating apply:config create:evaluator",
        suspended="+resume !Ready=Creating apply:config create:evaluator",
        course="Restarting +free !Evaluated=PodLost failure:PodLost",
    ),
    *stage(
        "refused",
        None,
        seen={"failures": (refused_action("Pod quick-evaluate: denied"),)},
        waiting="!Ready=Refused apply:config create:evaluator",
        suspended="+resume !Ready=Refused apply:config create:evaluator",
        course="Restarting +free !Evaluated=PodLost failure:PodLost",
    ),
    *stage(
        "in a group of its own",
        None,
        spec={"scheduling": {"gang": "volcano"}},
        waiting="!Ready=Creating apply:config,podgroup create:evaluator",
        suspended="+resume !Ready=Creating apply:config,podgroup create:evaluator",
        course="Restarting +free !Evaluated=PodLost failure:PodLost",
    ),
    *stage(
        "no room",
        make_evaluator(**WAITS, created=ago(90_000)),
        waiting="Queued !Ready=Queued",
        starting="Queued !Ready=Queued",
        ended="delete:evaluator",
    ),
    *stage(
        "runs",
        RUNS,
        waiting="Starting Ready=Ready !Evaluated=Starting",
        starting="Evaluating !Evaluated=Evaluating",
        ended="delete:evaluator",
    ),
    *stage("leaves", make_evaluator(leaves_at=ago(-100)), suspended="+resume", course=again("+free", "PodDeleted", "")),
    *stage(
        "should have left a lost node",
        make_evaluator(leaves_at=ago(31)),
        seen=LOST,
        suspended="+resume force:evaluator",
        course=again("+free", "PodDeleted", "force:evaluator"),
        ended="force:evaluator",
    ),
    *stage(
        "an old one should have left a lost node",
        make_evaluator(attempt=-1, leaves_at=ago(31)),
        seen=LOST,
        waiting="force:evaluator",
        suspended="+resume force:evaluator",
        course="Restarting +free failure:PodLost force:evaluator",
        ended="force:evaluator",
    ),
    *stage("done", DONE, course=SUCCEEDED),
    *stage("gate passed", DONE, spec=GATED, course=f"{SUCCEEDED} GatesPassed=Passed"),
    *stage("gate missed", make_evaluator(0, evaluator_report(0.98)), spec=GATED, course=MISSED),
    *stage("garbage", make_evaluator(0, "Killed\n"), course=NO_REPORT),
    *stage("report of another process", make_evaluator(0, '{"progress":null}'), course=NO_REPORT),
    *stage("report without results", make_evaluator(0, "{}"), course=NO_REPORT),
    *stage("report without one set", DONE, spec={"evaluation": {**EVALUATION, "sets": ["lfw", "x"]}}, course=NO_REPORT),
    *stage("exit 2", make_evaluator(2, "no such file"), course=f"{FAILED} failure:InvalidInput"),
    *stage("exit 1", make_evaluator(1), course=again("+counted", "Error")),
    *stage("exit 143", make_evaluator(143), course=again("+free", "Disrupted")),
    *stage("exit 1, no restart left", make_evaluator(1), spec=NO_MORE, course=f"{FAILED} failure:Error"),
    *stage(
        "exit 1, the training had the restarts",
        make_evaluator(1),
        spec=NO_MORE,
        status={"forgiven_restarts": 1},
        course=again("+counted", "Error"),
    ),
    *stage(
        "outlived by a sidecar", make_evaluator(0, REPORT, phase="Running"), course=SUCCEEDED, ended="delete:evaluator"
    ),
    *stage(
        "failed, outlived by a sidecar",
        make_evaluator(1, phase="Running"),
        course=again("+counted", "Error"),
        ended="delete:evaluator",
    ),
    *stage(
        "a rank's sidecar holds its devices",
        RUNS,
        seen={"pods": (make_ended(0, -1, phase="Running"), make_done(1))},
        waiting="Starting delete:0",
        suspended="+resume delete:evaluator,0",
        starting="Evaluating delete:0",
        evaluating="delete:0",
        ended="delete:0,evaluator",
    ),
    *stage(
        "a rank's sidecar is to be kept",
        RUNS,
        seen={"pods": (make_ended(0, -1, phase="Running"), make_done(1))},
        spec={"runPolicy": {"cleanPodPolicy": "None"}},
        starting="Evaluating",
    ),
    *stage(
        "suspend",
        RUNS,
        spec={"suspend": True},
        **dict.fromkeys(("waiting", "course"), "!Ready=Suspended !Suspended=Suspending delete:0,1,evaluator"),
        suspended="Suspended !Evaluated=Suspended delete:0,1,evaluator",
        ended="delete:evaluator",
    ),
    *stage(
        "suspend, the pod has left its node",
        make_evaluator(143),
        spec={"suspend": True},
        **dict.fromkeys(("waiting", "suspended", "course"), "Suspended !Evaluated=Suspended delete:0,1,evaluator"),
    ),
    *stage(
        "suspend, done",
        DONE,
        spec={"suspend": True},
        **dict.fromkeys(("waiting", "course"), SUCCEEDED),
        suspended="Suspended !Evaluated=Suspended delete:0,1,evaluator",
    ),
    *stage(
        "suspend, done but another evaluation is wished for",
        DONE,
        spec={"suspend": True},
        status={"evaluation_hash": "f" * 64},
        **dict.fromkeys(("waiting", "suspended", "course"), "Suspended !Evaluated=Suspended delete:0,1,evaluator"),
    ),
    *stage(
        "another evaluation is wished for",
        DONE,
        status={"evaluation_hash": "f" * 64},
        **dict.fromkeys(("waiting", "suspended", "course", "ended"), f"{OPENED} delete:evaluator"),
    ),
    *stage(
        "another evaluation is wished for, suspended",
        RUNS,
        spec={"suspend": True},
        status={"evaluation_hash": "f" * 64},
        **dict.fromkeys(("waiting", "course"), "!Suspended=Suspending delete:0,1,evaluator"),
        suspended="Suspended delete:0,1,evaluator",
        ended="delete:evaluator",
    ),
    *stage(
        "no longer asked for",
        RUNS,
        spec={"evaluation": None},
        status={"evaluation_hash": "f" * 64},
        **dict.fromkeys(("waiting", "suspended", "course", "failed"), "Succeeded Complete=Succeeded"),
        succeeded="delete:evaluator",
    ),
]


@pytest.mark.parametrize(("phase", "seen", "spec", "status", "cell"), ROWS)
def test_cell(phase: Any, seen: dict[str, Any], spec: dict[str, Any], status: dict[str, Any], cell: str) -> None:
    before = status_in(phase, **status)
    fields = {"workers": {"replicas": 2}, "evaluation": EVALUATION, **spec}
    job = make_job(**fields).model_copy(update={"status": before})
    assert_cell(decide(observation_in(phase, job, seen), SETTINGS, NOW), cell, before)


def plan_after(evaluator: PodView | None, phase: Any = "Evaluating", spec: Any = None, **status: Any) -> Plan:
    job = make_job(**{"workers": {"replicas": 2}, "evaluation": EVALUATION, **(spec or {})})
    job = job.model_copy(update={"status": status_in(phase, **{**TRAINED, **status})})
    return decide(observation_in(phase, job, {"pods": RANKS, "evaluator": evaluator}), SETTINGS, NOW)


def status_after(evaluator: PodView | None, **fields: Any) -> Any:
    return plan_after(evaluator, **fields).status


def test_results_and_gates_are_written_down() -> None:
    found = status_after(DONE, spec=GATED).evaluation
    assert found.checkpoint == "step-100"
    assert [(result.dataset, result.accuracy, result.pairs) for result in found.results] == [("lfw", 0.99, 600)]
    assert [(gate.metric, gate.min, gate.value, gate.passed) for gate in found.gates] == [
        ("lfw.accuracy", 0.99, 0.99, True)
    ]


def test_a_missed_gate_fails_the_job_with_its_figures_and_keeps_the_results() -> None:
    status = status_after(make_evaluator(0, evaluator_report(0.98)), spec=GATED)
    (failed,) = [item for item in status.conditions if item.type == "Failed"]
    assert failed.message == "gate lfw.accuracy: 0.98, needs >= 0.99"
    assert (status.failure.reason, status.evaluation.results[0].accuracy) == ("GateMissed", 0.98)


def test_an_evaluation_that_failed_half_way_keeps_what_it_had_found() -> None:
    failed = ReportedFailure(reason="InvalidInput", message="5.jpg does not decode", exit_code=2)
    report = EvaluatorReport.from_json(evaluator_report(0.99), "report").model_copy(update={"failure": failed})
    status = status_after(make_evaluator(2, report.to_json()), spec=GATED)
    assert (status.phase, status.failure.message) == ("Failed", "pod quick-evaluate: 5.jpg does not decode")
    assert [(result.dataset, result.accuracy) for result in status.evaluation.results] == [("lfw", 0.99)]
    assert status.evaluation.gates == []


FIVE = ("lfw", "cfp_fp", "agedb_30", "calfw", "cplfw")


def after_half(evaluator: PodView, known: int = 0, **seen: Any) -> Any:
    """The status where an evaluator of five sets runs or has died, and so many were known before."""
    before = EvaluatorReport.from_json(evaluator_report(0.9, FIVE[:known]), "report")
    evaluation = EvaluationStatus(checkpoint="step-100", results=before.results) if known else None
    job = make_job(workers={"replicas": 2}, evaluation={**EVALUATION, "sets": list(FIVE)})
    status = status_in("Evaluating", **TRAINED, evaluation=evaluation)
    found = {"pods": RANKS, "evaluator": evaluator, **seen}
    return decide(observation_in("Evaluating", job.model_copy(update={"status": status}), found), SETTINGS, NOW).status


@pytest.mark.parametrize("ended", [137, 143, 1])
def test_what_a_killed_evaluator_had_found_is_in_the_status_while_another_goes_on(ended: int) -> None:
    status = after_half(make_evaluator(ended, evaluator_report(0.99, FIVE[:3])))
    assert status.phase == "Restarting"
    assert [result.dataset for result in status.evaluation.results] == ["lfw", "cfp_fp", "agedb_30"]
    assert status.failure.message == f"pod quick-evaluate: exit code {ended}"
    assert status.failure.log == []


def test_sets_that_are_done_are_in_the_status_while_the_evaluator_runs() -> None:
    report = EvaluatorReport.from_json(evaluator_report(0.99, FIVE[:2]), "report")
    status = after_half(RUNS, report=report)
    assert [result.dataset for result in status.evaluation.results] == ["lfw", "cfp_fp"]
    assert status.evaluation.gates == []


def test_an_evaluator_that_has_told_of_less_yet_takes_nothing_away() -> None:
    status = after_half(make_evaluator(137, evaluator_report(0.99, FIVE[:1])), known=3)
    assert [(result.dataset, result.accuracy) for result in status.evaluation.results] == [
        (name, 0.9) for name in FIVE[:3]
    ]
    assert after_half(make_evaluator(137), known=3).evaluation == status.evaluation


def test_a_report_must_tell_of_every_release() -> None:
    status = status_after(DONE, spec={"evaluation": {**EVALUATION, "ijb": ["IJBC"]}})
    assert status.phase == "Failed"
    assert "reports no result for IJBC" in next(item.message for item in status.conditions if item.type == "Evaluated")


def test_the_pod_says_why_the_evaluation_failed() -> None:
    failure = status_after(make_evaluator(2, "no lfw.bin", node="node-7")).failure
    assert (failure.pod, failure.node, failure.exit_code) == ("quick-evaluate", "node-7", 2)
    assert failure.log == ["no lfw.bin"]
    assert failure.rank is None


def test_an_evaluator_that_has_a_node_and_does_not_start_is_restarted_and_says_why() -> None:
    def status(seconds: float) -> Any:
        ready = Condition(type="Ready", status="True", reason="R", message="", last_transition_time=ago(seconds))
        pod = make_evaluator(phase="Pending", is_ready=False, waiting="ImagePullBackOff: no such image")
        return status_after(pod, phase="Starting", conditions=[ready])

    late = status(1800)
    assert (late.phase, late.counted_restarts, late.failure.reason) == ("Restarting", 2, "StartupDeadlineExceeded")
    assert late.failure.message == (
        "evaluation has not begun after startupDeadlineSeconds 1800: "
        "pod quick-evaluate: ImagePullBackOff: no such image"
    )
    (evaluated,) = [item for item in status(1799).conditions if item.type == "Evaluated"]
    assert (evaluated.status, evaluated.message) == ("False", "pod quick-evaluate: ImagePullBackOff: no such image")


def heard(images: int, seconds: float) -> EvaluationProgress:
    return EvaluationProgress(images=images, updated_at=ago(seconds))


def plan_of_report(images: int | None, progress: EvaluationProgress | None, **seen: Any) -> Plan:
    """What follows from an evaluator that runs and tells of so many images."""
    job = make_job(workers={"replicas": 2}, evaluation=EVALUATION)
    status = status_in("Evaluating", **TRAINED, evaluation_progress=progress)
    report = None if images is None else EvaluatorReport(progress=heard(images, -9999))
    seen = {"pods": RANKS, "evaluator": RUNS, "report": report, **seen}
    return decide(observation_in("Evaluating", job.model_copy(update={"status": status}), seen), SETTINGS, NOW)


def test_every_image_moves_an_evaluation_by_our_own_clock() -> None:
    assert plan_of_report(64, None).status.evaluation_progress == heard(64, 0)
    assert plan_of_report(64, heard(0, 900)).status.evaluation_progress == heard(64, 0)
    assert plan_of_report(64, heard(64, 900)).status.evaluation_progress == heard(64, 900)


def test_an_evaluator_that_embeds_nothing_more_is_restarted() -> None:
    assert plan_of_report(64, heard(64, 1799)).status.phase == "Evaluating"
    stalled = plan_of_report(64, heard(64, 1800)).status
    assert (stalled.phase, stalled.counted_restarts, stalled.failure.reason) == ("Restarting", 2, "Stalled")
    assert stalled.failure.message == "no image hashed or embedded for stallSeconds 1800 after 64"
    assert stalled.evaluation_progress is None


def test_an_evaluator_that_was_never_heard_or_only_by_another_replica_is_not_said_to_be_idle() -> None:
    assert plan_of_report(None, None).status.phase == "Evaluating"
    assert plan_of_report(None, heard(64, 9999), watched_since=ago(10)).status.phase == "Evaluating"


def test_the_training_that_is_done_is_followed_by_another_attempt_with_restarts_of_its_own() -> None:
    job = make_job(workers={"replicas": 2}, evaluation=EVALUATION)
    job = job.model_copy(update={"status": status_in("Training", active_seconds=70)})
    seen = {"pods": (make_ended(0), make_ended(1))}
    status = decide(observation_in("Training", job, seen), SETTINGS, NOW).status
    assert (status.phase, status.attempt, status.restarts) == ("Pending", 3, 2)
    assert (status.training_completion_time, status.evaluation_hash) == (NOW, evaluation_hash(job))
    assert (status.counted_restarts, status.forgiven_restarts) == (1, 1)
    assert (status.workers.succeeded, status.workers.desired) == (2, 2)
    assert status.active_seconds == 70 + 1000  # of earlier attempts, and since the job began


@pytest.mark.parametrize("phase", ["Suspended", "Pending", "Queued", "Starting", "Restarting", "Evaluating"])
@pytest.mark.parametrize("evaluator", [None, make_evaluator(1), make_evaluator(leaves_at=ago(99))])
def test_a_trained_job_never_trains_again(phase: Any, evaluator: PodView | None) -> None:
    plan = plan_after(evaluator, phase=phase)
    assert not {"create:0", "create:1"} & {action_word(action) for action in plan.actions}
    assert plan.status.training_completion_time == ago(300)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_an_annotation_has_a_finished_job_evaluated_once_more(phase: Any) -> None:
    job = make_job(workers={"replicas": 2}, evaluation=EVALUATION)
    begun = {**TRAINED, "evaluation_hash": evaluation_hash(job)}
    metadata = job.metadata.model_copy(update={"annotations": {EVALUATE_AGAIN_ANNOTATION: "2026-11-27"}})
    missed = Condition(type="GatesPassed", status="False", reason="R", message="", last_transition_time=ago(100))
    ended = status_in(phase, **begun, active_seconds=77)
    ended = ended.model_copy(update={"conditions": [*ended.conditions, missed]})
    wished = job.model_copy(update={"metadata": metadata, "status": ended})
    seen = {"pods": RANKS, "evaluator": None}
    opened = decide(observation_in(phase, wished, seen), SETTINGS, NOW).status
    assert (opened.phase, opened.attempt, opened.forgiven_restarts, opened.active_seconds) == ("Pending", 3, 1, 0)
    assert opened.completion_time is None
    assert {item.type: (item.status, item.reason) for item in opened.conditions} == {
        "Complete": ("False", "Reopened"),
        "Failed": ("False", "Reopened"),
        "Evaluated": ("False", "Pending"),
        "Ready": ("False", "Pending"),
        "Scheduled": ("False", "Pending"),
    }
    same = wished.model_copy(update={"status": opened})
    plan = decide(observation_in("Pending", same, seen), SETTINGS, NOW)
    assert "create:evaluator" in [action_word(action) for action in plan.actions]
    assert plan.status.attempt == 3


def test_a_field_that_a_release_adds_does_not_have_every_job_evaluated_again() -> None:
    told = make_job(evaluation={**EVALUATION, "path": "", "gates": []})
    assert evaluation_hash(told) == evaluation_hash(make_job(evaluation=EVALUATION))
    assert evaluation_hash(told) != evaluation_hash(make_job(evaluation={**EVALUATION, "path": "bins"}))


def test_the_hash_of_a_wish_is_that_of_the_releases_before() -> None:
    """Of this text, whatever the order in which the fields are declared."""
    text = (
        '{"claimName":"sets","path":"bins","sets":["lfw"],"ijb":["IJBC"],"everyEpochs":2,'
        '"gates":[{"metric":"lfw.accuracy","min":0.9,"max":1.0}],'
        '"resources":{"requests":{"cpu":1},"limits":{"cpu":2}},"template":{"spec":{}}}'
    )
    assert evaluation_hash(make_job(evaluation=json.loads(text))) == hashlib.sha256(f"{text}\n".encode()).hexdigest()


def done_by_an_earlier_release(phase: Any, **changes: Any) -> Any:
    """A status that says of a training that is done no more than the reason of its condition."""
    trained = Condition(type="Training", status="False", reason="Trained", message="", last_transition_time=ago(200))
    kept = [item for item in status_in(phase).conditions if item.type != "Training"]
    blank = {"training_completion_time": None, "evaluation_hash": None}
    return status_in(phase, **{**blank, "conditions": [*kept, trained], **changes})


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_job_that_an_earlier_release_ended_stays_as_it_is(phase: Any) -> None:
    job = make_job(workers={"replicas": 2}, evaluation=EVALUATION)
    job = job.model_copy(update={"status": done_by_an_earlier_release(phase)})
    plan = decide(observation_in(phase, job, {}), SETTINGS, NOW)
    assert plan.status == job.status.model_copy(
        update={"training_completion_time": ago(200), "evaluation_hash": evaluation_hash(job)}
    )
    assert plan.actions == ()


def test_a_wish_that_cannot_be_carried_out_is_not_said_to_be_evaluated() -> None:
    job = make_job(workers={"replicas": 2}, evaluation={**EVALUATION, "template": {"spec": {"containers": "none"}}})
    told = Condition(type="Evaluated", status="True", reason="Evaluated", message="", last_transition_time=ago(100))
    ended = status_in("Succeeded", **{**TRAINED, "evaluation_hash": "1" * 64})
    ended = ended.model_copy(update={"conditions": [*ended.conditions, told]})
    seen = {"pods": RANKS, "evaluator": None}
    status = decide(observation_in("Succeeded", job.model_copy(update={"status": ended}), seen), SETTINGS, NOW).status
    found = {item.type: (item.status, item.reason) for item in status.conditions}
    assert found["Failed"] == ("True", "InvalidSpec")
    assert found["Evaluated"] == ("False", "InvalidSpec")
