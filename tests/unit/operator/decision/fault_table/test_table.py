"""The table of faults: every row decides something, and a fault is of the row that says most of it."""

import pytest

from arcface_operator.decision.fault_table.table import TABLE, Blame, Remedy, Row, Symptom, verdict_on
from arcface_operator.decision.policies.failure_rules import ACTIONS

SYMPTOMS = {
    "bad input, or a loss that is no number any more": Symptom(reason="Diverged", exit_code=3, is_taken=True),
    "a pod that can never start": Symptom(reason="InvalidImageName"),
    "there is room for a part of the gang only": Symptom(reason="PartlyHeld"),
    "quota that a queue takes back": Symptom(reason="QuotaWithdrawn"),
    "a pod that made room for others": Symptom(reason="PreemptionByScheduler", exit_code=143, is_taken=True),
    "a node that is gone or does not answer": Symptom(reason="DeletionByTaintManager", is_taken=True),
    "a card that MindX calls faulty": Symptom(reason="DeviceFault"),
    "a pod that its kubelet ended": Symptom(reason="Evicted", exit_code=137, is_taken=True),
    "an end that the kubelet has not seen": Symptom(reason="Unknown", exit_code=255),
    "a pod that the cluster ended, or somebody deleted": Symptom(reason="PodDeleted", is_taken=True),
    "a pod that is gone": Symptom(reason="PodLost"),
    "a launcher that does not start its ranks anew": Symptom(reason="NotLaunched"),
    "a pod that another one does not take the place of": Symptom(reason="NotReplaced"),
    "stopped, and nobody says why": Symptom(reason="Disrupted", exit_code=143),
    "an init container that failed, or a pod of which nobody says why": Symptom(reason="PodFailed"),
    "ranks that do not start or get nowhere": Symptom(reason="Stalled"),
    "an end with exit code 0 before the last step": Symptom(reason="NoReport"),
    "a pod that its kubelet would not have": Symptom(reason="OutOfhuawei.com/Ascend910"),
    "any other exit code": Symptom(reason="Error", exit_code=137),
}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.fault)
def test_every_row_decides_about_faults_that_no_other_row_is_for(row: Row) -> None:
    symptom = SYMPTOMS[row.fault]
    assert next(other for other in TABLE if other.matches(symptom)) is row
    assert verdict_on(symptom) is row.verdict


@pytest.mark.parametrize("code", [*range(1, 256), 256, -1])
def test_an_exit_code_alone_is_the_programs_but_for_those_that_mean_something(code: int) -> None:
    verdict = verdict_on(Symptom(reason="Error", exit_code=code))
    expected = {2: (Remedy.FAIL, Blame.JOB), 3: (Remedy.FAIL, Blame.JOB), 143: (Remedy.RESTART_FREE, Blame.CLUSTER)}
    assert (verdict.remedy, verdict.blame) == expected.get(code, (Remedy.RESTART, Blame.PROGRAM))


def test_only_what_a_program_is_held_responsible_for_counts() -> None:
    assert {row.verdict.blame for row in TABLE if row.verdict.remedy is Remedy.RESTART} == {Blame.PROGRAM}


def test_users_may_ask_for_all_but_letting_go() -> None:
    assert {*ACTIONS.values(), Remedy.LET_GO} == set(Remedy)
