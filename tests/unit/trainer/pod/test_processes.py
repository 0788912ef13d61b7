"""Variables of a rank, from those of its pod."""

import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunRanks
from arcface_trainer.pod.processes import rank_environment
from arcface_trainer.pod.rendezvous import MeetingPoint

TABLE = "/user/serverid/devindex/config/hccl.json"
POD = {"MS_NODE_ID": "2", "MS_WORKER_NUM": "4", "RANK_TABLE_FILE": TABLE, "RANK_ID": "2", "RANK_SIZE": "4"}


def ranks(world_size: int, per_pod: int, accelerator: str = "ascend") -> RunRanks:
    return RunRanks.model_validate(
        {"worldSize": world_size, "perPod": per_pod, "accelerator": accelerator, "rendezvous": "dynamic"}
    )


def test_a_rank_joins_by_the_scheduler_and_keeps_the_table_beside() -> None:
    identity = RankIdentity.from_environment(POD)
    found = rank_environment(POD, ranks(4, 2), identity, MeetingPoint("10.0.0.5"), 1)
    expected = {
        "MS_ROLE": "MS_WORKER",
        "MS_SCHED_HOST": "10.0.0.5",
        "MS_SCHED_PORT": "8118",
        "MS_WORKER_NUM": "4",
        "MS_NODE_ID": "3",
        "RANK_TABLE_FILE": TABLE,
        "RANK_ID": "3",
        "RANK_SIZE": "4",
        "DEVICE_ID": "1",
    }
    assert found | expected == found


def test_ranks_of_two_launches_never_meet_one_scheduler() -> None:
    """One that is cut off would look for its own for 20 s, and register in the place of the next one."""

    def port(launch: int) -> int:
        identity = RankIdentity(world_size=2, scheduler_port=7000, launch=launch)
        return int(rank_environment({}, ranks(2, 1), identity, MeetingPoint("10.0.0.5"), 0)["MS_SCHED_PORT"])

    assert [port(launch) for launch in range(6)] == [7000, 7001, 7002, 7003, 7000, 7001]


@pytest.mark.parametrize(("in_table", "told"), [("0", "0"), (None, "1")])
def test_hccl_is_told_the_super_pod_of_the_table_where_there_is_one(in_table: str | None, told: str) -> None:
    pod = {**POD, "HCCL_LOGIC_SUPERPOD_ID": "1"}
    identity = RankIdentity.from_environment(pod)
    found = rank_environment(pod, ranks(4, 2), identity, MeetingPoint("10.0.0.5", in_table), 0)
    assert found["HCCL_LOGIC_SUPERPOD_ID"] == told


@pytest.mark.parametrize("accelerator", ["ascend", "cpu"])
def test_a_rank_alone_waits_for_nobody_whatever_an_older_operator_wrote(accelerator: str) -> None:
    written = {
        "MS_ROLE": "MS_WORKER",
        "MS_SCHED_HOST": "quick-worker-0.quick",
        "MS_SCHED_PORT": "8118",
        "RANK_TABLE_FILE": TABLE,
        "RANK_ID": "0",
        "RANK_SIZE": "1",
    }
    found = rank_environment(written, ranks(1, 1, accelerator), RankIdentity(), None, 0)
    assert not set(written) & set(found)
    assert found.get("DEVICE_ID") == ("0" if accelerator == "ascend" else None)


def test_ranks_on_cpu_have_no_cards() -> None:
    found = rank_environment({}, ranks(2, 2, "cpu"), RankIdentity(world_size=2), MeetingPoint("10.0.0.5"), 1)
    assert not {"DEVICE_ID", "RANK_ID", "RANK_SIZE"} & set(found)


@pytest.mark.parametrize(
    ("world_size", "seconds"), [(2, "1"), (256, "1"), (257, "2"), (768, "3"), (769, None), (4096, None)]
)
def test_ranks_ask_the_scheduler_more_often_where_they_are_few(world_size: int, seconds: str | None) -> None:
    """MindSpore's own interval is 3 to 5 s, whatever the number of ranks."""
    gang = ranks(world_size, 1)
    found = rank_environment({}, gang, RankIdentity(world_size=world_size), MeetingPoint("10.0.0.5"), 0)
    assert [found.get(f"MS_RETRY_INTERVAL_{bound}") for bound in ("LOWER", "UPPER")] == [seconds] * 2


def test_intervals_are_left_alone_where_the_template_sets_any() -> None:
    """MindSpore lowers a lower bound that is above the upper one."""
    pod = {"MS_RETRY_INTERVAL_LOWER": "7"}
    found = rank_environment(pod, ranks(2, 1), RankIdentity(world_size=2), MeetingPoint("10.0.0.5"), 0)
    assert found["MS_RETRY_INTERVAL_LOWER"] == "7"
    assert "MS_RETRY_INTERVAL_UPPER" not in found
