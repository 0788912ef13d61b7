"""What a witness makes of sequences of versions, written down by hand."""

import json
from typing import Any

from arcface_api.contract.pod_environment import ATTEMPT_LABEL, COMPONENT_LABEL, RANK_INDEX_LABEL
from cluster.chaos.account import TABLE, TABLE_KEY, Account, untrue_conditions
from testbed.fake_nodes.played_ranks import RankDeath

JOB = "the job"


def pod(version: int, attempt: int = 0, index: int = 0, phase: str = "Running", **status: Any) -> dict[str, Any]:
    labels = {COMPONENT_LABEL: "worker", ATTEMPT_LABEL: str(attempt), RANK_INDEX_LABEL: str(index)}
    metadata = {"name": f"quick-worker-{index}", "uid": f"{attempt}-{index}", "labels": labels}
    metadata |= {"ownerReferences": [{"uid": JOB}], "resourceVersion": str(version)}
    return {"metadata": metadata, "status": {"phase": phase, "podIP": f"10.0.{attempt}.{index}", **status}}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"containerStatuses": [{"state": {"terminated": {"exitCode": code, "reason": reason}}}]}


def job(version: int, phase: str, *true: str, **status: Any) -> dict[str, Any]:
    conditions = [{"type": kind, "status": "True"} for kind in true]
    metadata = {"uid": JOB, "resourceVersion": str(version)}
    return {"metadata": metadata, "status": {"phase": phase, "conditions": conditions, **status}}


def seen(*events: tuple[str, dict[str, Any]]) -> Account:
    account = Account()
    for kind, item in events:
        if "phase" in item.get("status", {}) and "conditions" in item["status"]:
            account.see_job(kind, item, "")
        elif "data" in item:
            account.see_table(kind, item)
        else:
            account.see_pod(kind, item)
    return account


def table(version: int, status: str, attempt: int, *addresses: str) -> dict[str, Any]:
    servers = [
        {"container_ip": address, "device": [{"device_id": "0", "rank_id": str(rank)}]}
        for rank, address in enumerate(addresses)
    ]
    content = {"status": status, "attempt": str(attempt), "server_list": servers}
    metadata = {"name": TABLE, "resourceVersion": str(version)}
    return {"metadata": metadata, "data": {TABLE_KEY: json.dumps(content)}}


def test_a_pod_of_the_next_attempt_may_not_be_made_before_the_last_one_is_over() -> None:
    early = seen(("ADDED", pod(1)), ("ADDED", pod(2, attempt=1, index=1)))
    assert early.judge() == ["quick-worker-1 of attempt 1 was made while quick-worker-0 of attempt 0 was alive"]
    assert seen(("ADDED", pod(1)), ("DELETED", pod(2)), ("ADDED", pod(3, attempt=1))).judge() == []
    assert seen(("ADDED", pod(1)), ("MODIFIED", pod(2, phase="Failed")), ("ADDED", pod(3, attempt=1))).judge() == []


def test_a_job_is_suspended_once_its_pods_are_gone() -> None:
    assert seen(("ADDED", pod(1)), ("DELETED", pod(2)), ("MODIFIED", job(3, "Suspended", "Suspended"))).judge() == []
    late = seen(("ADDED", pod(1)), ("MODIFIED", job(2, "Suspended", "Suspended")), ("DELETED", pod(3)))
    assert late.judge() == ["Suspended is true while quick-worker-0 of attempt 0 is alive"]


def test_a_rank_table_is_ready_once_it_lists_the_pods_of_the_attempt() -> None:
    pods = ("ADDED", pod(1, attempt=1)), ("ADDED", pod(2, attempt=1, index=1))
    said = "MODIFIED", job(9, "Starting", "RankTableReady", attempt=1, rankTable={"total": 2})
    wrong = "RankTableReady is true of attempt 1, and its table is not whole"
    whole = "ADDED", table(3, "completed", 1, "10.0.1.0", "10.0.1.1")
    assert seen(*pods, whole, said).judge() == []
    for each in (
        table(3, "initializing", 1, "10.0.1.0", "10.0.1.1"),
        table(3, "completed", 0, "10.0.1.0", "10.0.1.1"),
        table(3, "completed", 1, "10.0.1.0"),
        table(3, "completed", 1, "10.0.1.0", "10.0.0.1"),
        table(10, "completed", 1, "10.0.1.0", "10.0.1.1"),
    ):
        assert seen(*pods, ("ADDED", each), said).judge() == [wrong], each


def test_nobody_trains_after_the_training_was_done() -> None:
    done = "MODIFIED", job(2, "Evaluating", trainingCompletionTime="now")
    assert seen(done, ("ADDED", pod(3, attempt=1))).judge() == [
        "quick-worker-0 of attempt 1 was made after the training was done"
    ]


def test_faults_are_as_many_as_attempts_or_as_pods_that_failed_by_themselves() -> None:
    def faults(*pods: dict[str, Any]) -> range | None:
        return seen(*(("MODIFIED", each) for each in pods)).faults(JOB).get("worker")

    failed = pod(1, phase="Failed", **ended(1))
    together = pod(2, index=1, phase="Failed", **ended(139))
    assert faults(failed, together, pod(3, 1, phase="Failed", **ended(137))) == range(2, 4)
    leaving = pod(1, phase="Failed", **ended(137))
    leaving["metadata"]["deletionTimestamp"] = "now"
    evicted = pod(1, phase="Failed", **ended(137), reason="Evicted")
    for each in (
        leaving,
        evicted,
        pod(1, phase="Failed", **ended(143)),
        pod(1, phase="Failed", **ended(255, "Unknown")),
    ):
        assert faults(each) is None, each


def test_after_a_gap_pods_that_are_not_there_any_more_are_gone() -> None:
    account = seen(("ADDED", pod(1)), ("ADDED", pod(2, index=1)))
    account.lose_sight({"0-1"}, 9)
    account.see_pod("ADDED", pod(10, attempt=1))
    assert account.judge() == ["quick-worker-0 of attempt 1 was made while quick-worker-1 of attempt 0 was alive"]


def test_counters_the_checkpoint_and_an_end_never_go_back() -> None:
    before = job(1, "Succeeded", "Complete", "CheckpointAvailable", attempt=2, checkpoint={"step": 9})
    after = job(2, "Training", "CheckpointAvailable", attempt=1, checkpoint={"step": 8})
    assert seen(("ADDED", before), ("MODIFIED", after)).judge() == [
        "attempt went from 2 to 1",
        "the checkpoint went from step 9 to 8",
        "Succeeded was left for Training",
    ]


def test_a_condition_that_says_more_than_happened_is_noticed() -> None:
    true = {"type": "Complete", "status": "True"}
    assert untrue_conditions({"phase": "Training", "conditions": [true]}) == ["Complete is True in phase Training"]


def trains(version: int, *rungs: str, phase: str = "Training", **status: Any) -> tuple[str, dict[str, Any]]:
    """A job whose recoveries but for the last are over, and the last one where a step has been seen since."""
    is_over = {"seconds": 1.0, "stepsLost": 5}
    known = [
        {"rung": rung, "cause": "c", "since": str(place), "step": 75, **is_over} for place, rung in enumerate(rungs)
    ]
    if status.pop("is_open", False):
        known[-1] = {name: value for name, value in known[-1].items() if name not in is_over}
    return "MODIFIED", job(version, phase, restarts=len(rungs), recoveries=known, **status)


def test_a_restart_in_place_makes_no_pod_anew_and_another_one_the_pod_that_it_names() -> None:
    before = ("ADDED", pod(1)), ("ADDED", pod(2, index=1)), trains(3)
    again = pod(6, index=1)
    again["metadata"]["uid"] = "new"
    lost = ("DELETED", pod(5, index=1)), ("ADDED", again)
    begun, over = {"launch": 1, "is_open": True}, {"launch": 1}
    assert seen(*before, trains(4, "InPlace", **begun), trains(7, "InPlace", **over)).judge() == []
    wrong = seen(*before, trains(4, "InPlace", **begun), *lost, trains(7, "InPlace", **over))
    assert wrong.judge() == ["InPlace made pods ['1'] anew in attempt 0"]
    for place, said in ((1, []), (0, ["OnePod made pods ['1'] anew in attempt 0"])):
        named = {"replacement": {"pod": place, "launch": 1}}
        told = trains(4, "OnePod", **begun, **named), *lost, trains(7, "OnePod", **over, **named)
        assert seen(*before, *told).judge() == said
    named = {"replacement": {"pod": 1, "launch": 1}}
    left = trains(4, "OnePod", **begun, **named), ("DELETED", pod(5, index=0)), ("DELETED", pod(5, index=1))
    assert seen(*before, *left, trains(7, "OnePod", attempt=1)).judge() == [], (
        "it was suspended before the pod was made"
    )
    assert seen(*before, *left, trains(7, "OnePod", **over)).judge() == ["OnePod made pods [] anew in attempt 0"]


def test_attempt_restarts_and_launch_rise_as_the_rung_says() -> None:
    def said(rung: str, **status: Any) -> list[str]:
        return seen(trains(1, attempt=2, launch=3), trains(2, rung, is_open=True, **status)).judge()

    assert said("InPlace", attempt=2, launch=4) == said("WholeGang", attempt=3, launch=0) == []
    assert said("InPlace", attempt=2, launch=5) == [
        "InPlace led from attempt, restart and launch (2, 0, 3) to (2, 1, 5)"
    ]
    assert said("Elastic", attempt=3, launch=0) == [
        "Elastic led from attempt, restart and launch (2, 0, 3) to (3, 1, 0)"
    ]
    assert seen(trains(1), ("MODIFIED", job(2, "Training", restarts=1))).judge() == ["restart 1 is no recovery"]


def test_a_recovery_comes_to_its_end_and_loses_the_steps_since_the_checkpoint() -> None:
    done = {"phase": "Succeeded", "attempt": 1}
    complete = trains(2, "WholeGang", is_open=True, **done)
    complete[1]["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
    assert seen(trains(1), complete).judge() == ["WholeGang never came to its end"]
    over = trains(2, "WholeGang", attempt=1)
    over[1]["status"]["recoveries"][0]["stepsLost"] = 4
    assert seen(trains(1), over).judge() == ["4 steps were lost of 75"]


def test_no_pod_is_beyond_the_size_of_its_attempt() -> None:
    small = "MODIFIED", job(1, "Training", attempt=1, elastic={"attempt": 1, "pods": 1})
    assert seen(small, ("ADDED", pod(2, attempt=1))).judge() == []
    assert seen(small, ("ADDED", pod(2, attempt=1, index=1))).judge() == [
        "quick-worker-1 of attempt 1 is one more than the 1 of its attempt"
    ]


def test_ranks_that_died_in_a_launch_are_a_fault_of_their_own_where_no_pod_has_failed() -> None:
    deaths = [RankDeath(JOB, 0, launch, pod, 1) for launch, pod in ((0, 0), (0, 1), (1, 0))]
    assert Account().faults(JOB, deaths) == {"worker": range(2, 4)}
    peer = RankDeath(JOB, 1, 0, 0, 1, is_own=False)
    assert Account().faults(JOB, [*deaths, peer]) == {"worker": range(2, 5)}
    assert Account().faults(JOB, [peer]) == {"worker": range(2)}
    failed = seen(("ADDED", pod(1, phase="Failed", **ended(137))))
    assert failed.faults(JOB, deaths) == {"worker": range(1, 5)}
    with_its_pod = RankDeath(JOB, 0, 0, 0, 137, address="10.0.0.0", ends_pod=True)
    assert failed.faults(JOB, [with_its_pod]) == {"worker": range(1, 2)}
