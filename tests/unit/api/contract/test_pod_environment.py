"""Who a process is, as its variables say: written by one side, read by the other."""

from pathlib import Path

import pytest

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.errors import InvalidInput


def test_a_process_without_rank_variables_is_alone() -> None:
    assert RankIdentity.from_environment({}) == RankIdentity()
    assert (RankIdentity().rank, RankIdentity().world_size, RankIdentity().address) == (0, 1, "127.0.0.1")


def test_a_pod_knows_its_ranks_and_its_address() -> None:
    identity = RankIdentity.from_environment({"MS_NODE_ID": "8", "MS_WORKER_NUM": "16", "POD_IP": "10.0.0.7"})
    assert (identity.rank, identity.world_size, identity.address) == (8, 16, "10.0.0.7")


@pytest.mark.parametrize("text", ["x", "-1", "", "1.0", "²", "2147483648", "9" * 40])
def test_a_wrong_rank_variable_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"MS_NODE_ID='{text}'"):
        RankIdentity.from_environment({"MS_NODE_ID": text})


def test_a_port_that_no_socket_has_is_named_and_a_long_text_is_cut() -> None:
    with pytest.raises(InvalidInput, match="MS_SCHED_PORT='65536' in the environment is not a number from 0 to 65535"):
        RankIdentity.from_environment({"MS_SCHED_PORT": "65536"})
    with pytest.raises(InvalidInput, match=f"ARCFACE_ATTEMPT='{'9' * 40}' in the environment"):
        RankIdentity.from_environment({"ARCFACE_ATTEMPT": "9" * 5000})


@pytest.mark.parametrize(
    "files",
    [{}, {"scheduler_file": Path("/etc/a/b")}, {"rank_table": Path("/user/hccl.json")}],
    ids=["one pod", "by file", "by rank table"],
)
@pytest.mark.parametrize(("attempt", "uid"), [(None, None), (0, None), (3, "5f1c1a52-8f0e")])
def test_what_the_operator_writes_is_what_the_pod_reads(
    files: dict[str, Path], attempt: int | None, uid: str | None
) -> None:
    written = RankIdentity(rank=8, world_size=16, attempt=attempt, job_uid=uid, **files)
    assert RankIdentity.from_environment(written.variables()) == written


def test_the_variables_of_mindspore_and_hccl() -> None:
    """No MS_SCHED_HOST: it must be an address, which is not known when pods are made."""
    identity = RankIdentity(rank=8, world_size=16, rank_table=Path("/user/hccl.json"))
    assert identity.variables() == {
        "MS_ROLE": "MS_WORKER",
        "MS_SCHED_PORT": "8118",
        "MS_WORKER_NUM": "16",
        "MS_NODE_ID": "8",
        "RANK_TABLE_FILE": "/user/hccl.json",
        "RANK_SIZE": "16",
        "RANK_ID": "8",
    }


def test_a_rank_alone_has_nothing_that_makes_mindspore_wait_for_others() -> None:
    assert RankIdentity().variables() == {"MS_WORKER_NUM": "1", "MS_NODE_ID": "0"}


@pytest.mark.parametrize("uid", ["../other", "a b", "x" * 65])
def test_a_uid_that_is_no_part_of_a_folders_name_is_refused(uid: str) -> None:
    with pytest.raises(InvalidInput, match="ARCFACE_JOB_UID="):
        RankIdentity.from_environment({"ARCFACE_JOB_UID": uid})


def test_a_rank_knows_its_card() -> None:
    assert RankIdentity.from_environment({"DEVICE_ID": "3"}).device == 3
