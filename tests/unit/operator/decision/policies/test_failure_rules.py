"""`spec.runPolicy.failureRules`: which faults a rule is about, and what follows in a gang."""

from typing import Any

import pytest

from arcface_api.contract.reports import ReportedFailure, TrainerReport
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import PodView
from arcface_operator.decision.plan import Plan
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS, ago, make_ended, make_report, make_worker
from support.decision_table import observation_in, status_in

LOG = ["EI0006: Getting socket times out", "last"]
HCCL = ReportedFailure(reason="RankDied", message="rank 1 died", exit_code=1, log=LOG)
TOLD = TrainerReport(failure=HCCL).to_json()


def plan_of(pods: tuple[PodView, ...], *rules: dict[str, Any], **seen: Any) -> Plan:
    """What follows in a training of two pods."""
    job = make_job(workers={"replicas": 2}, runPolicy={"failureRules": list(rules), "backoffLimit": 3})
    job = job.model_copy(update={"status": status_in("Training", attempt=0)})
    return decide(observation_in("Training", job, {"pods": pods, **seen}), SETTINGS, NOW)


def outcome(pods: tuple[PodView, ...], *rules: dict[str, Any], **seen: Any) -> str:
    """The phase that follows; of a restart, whether it counts."""
    status = plan_of(pods, *rules, **seen).status
    if status.phase != "Restarting":
        return str(status.phase)
    return "counted" if status.counted_restarts == 2 else "uncounted"


def ended(code: int | None = 1, **fields: Any) -> tuple[PodView, ...]:
    """One pod that ended like this, and its peer that died of it."""
    return make_ended(0, code=code, at=ago(60), **fields), make_ended(1, code=1, at=ago(59))


FAIL, FREE, COUNT = ({"action": action} for action in ("Fail", "RestartUncounted", "Restart"))


@pytest.mark.parametrize(
    ("pods", "rules", "expected"),
    [
        pytest.param(ended(42), [], "counted", id="no rule"),
        pytest.param(ended(42), [{**FAIL, "exitCodes": [41, 42]}], "Failed", id="its exit code"),
        pytest.param(ended(42), [{**FAIL, "exitCodes": [41]}], "counted", id="another exit code"),
        pytest.param(ended(42), [{**FREE, "exitCodes": [42]}], "uncounted", id="forgiven"),
        pytest.param(
            ended(42), [{**FREE, "exitCodes": [42]}, {**FAIL, "exitCodes": [42]}], "uncounted", id="the first decides"
        ),
        pytest.param(ended(3), [{**COUNT, "exitCodes": [3]}], "counted", id="what no retry cures, by the user's wish"),
        pytest.param(ended(137, reason="OOMKilled"), [{**FAIL, "reasons": ["OOMKilled"]}], "Failed", id="reason"),
        pytest.param(ended(137), [{**FAIL, "reasons": ["OOMKilled"]}], "counted", id="another reason"),
        pytest.param(ended(message=TOLD), [{**FAIL, "reasons": ["RankDied"]}], "Failed", id="reported reason"),
        pytest.param(ended(message=TOLD), [{**FREE, "messageContains": "EI0006"}], "uncounted", id="line of the log"),
        pytest.param(ended(message=TOLD), [{**FREE, "messageContains": "rank 1 died"}], "uncounted", id="message"),
        pytest.param(ended(message=TOLD), [{**FREE, "messageContains": "EI0007"}], "counted", id="another message"),
        pytest.param(
            ended(message=TOLD),
            [{**FREE, "messageContains": "EI0006", "exitCodes": [2]}],
            "counted",
            id="not all of it",
        ),
        pytest.param(
            ended(None, reason="Evicted"), [{**COUNT, "reasons": ["Evicted"]}], "counted", id="eviction counts"
        ),
        pytest.param(
            ended(137, is_disrupted=True, reason="Error"),
            [{**FAIL, "exitCodes": [1, 137]}],
            "uncounted",
            id="exit codes of a pod that was taken, and of the peer that died of it, are not the program's",
        ),
        pytest.param(
            ended(1, reason="Error"),
            [{**FAIL, "exitCodes": [42]}],
            "counted",
            id="nothing matches",
        ),
        pytest.param(
            (make_ended(0, code=1, at=ago(60)), make_ended(1, code=42, at=ago(50))),
            [{**FAIL, "exitCodes": [42]}],
            "Failed",
            id="the pod that the rule is about ended later than its peer",
        ),
    ],
)
def test_what_a_rule_makes_of_a_fault(pods: tuple[PodView, ...], rules: list[dict[str, Any]], expected: str) -> None:
    assert outcome(pods, *rules) == expected


def test_a_lost_node_explains_an_exit_code_that_a_rule_is_about() -> None:
    pods = (make_worker(0), make_ended(1, code=1))
    assert outcome(pods, {**FAIL, "exitCodes": [1]}, lost_nodes=frozenset({"node-0"})) == "uncounted"


def test_a_stalled_gang_is_a_fault_by_its_reason() -> None:
    still = make_report(7, updated_at=ago(1800)).progress
    job = make_job(workers={"replicas": 2}, runPolicy={"failureRules": [{**FAIL, "reasons": ["Stalled"]}]})
    job = job.model_copy(update={"status": status_in("Training", attempt=0, progress=still)})
    seen = {"pods": (make_worker(0), make_worker(1)), "report": make_report(7)}
    status = decide(observation_in("Training", job, seen), SETTINGS, NOW).status
    assert status.failure is not None
    assert (status.phase, status.failure.reason) == ("Failed", "Stalled")


def test_a_peer_may_still_tell_the_cause_before_a_rule_fails_the_job() -> None:
    pods = (make_worker(0), make_ended(1, code=1, at=ago(1)))
    plan = plan_of(pods, {**FAIL, "exitCodes": [1]})
    assert (plan.status.phase, plan.look_again_seconds) == ("Training", 1)


def test_waiting_for_room_is_no_fault_whatever_the_rules_say() -> None:
    waiting = make_worker(1, node=None, phase="Pending", is_ready=False)
    job = make_job(workers={"replicas": 2}, runPolicy={"failureRules": [{**FAIL, "reasons": ["PartlyHeld"]}]})
    job = job.model_copy(update={"status": status_in("Queued", attempt=0)})
    pods = (make_worker(0, scheduled_at=ago(4000)), waiting)
    plan = decide(observation_in("Queued", job, {"pods": pods}), SETTINGS, NOW)
    assert (plan.status.phase, plan.status.restarts) == ("Queued", 2)
