import pytest

from arcface_api.cpu_affinity import core_share
from arcface_api.errors import InvalidInput
from arcface_trainer.pod.environment import compute_environment
from arcface_trainer.pod.identity import PodIdentity


def test_a_process_without_rank_variables_is_alone():
    identity = PodIdentity.from_environment({})
    assert (identity.first_rank, identity.world_size, identity.address) == (0, 1, "127.0.0.1")


def test_a_pod_knows_its_ranks_and_its_address():
    identity = PodIdentity.from_environment({"MS_NODE_ID": "8", "MS_WORKER_NUM": "16", "POD_IP": "10.0.0.7"})
    assert (identity.first_rank, identity.world_size, identity.address) == (8, 16, "10.0.0.7")


def test_a_wrong_rank_variable_is_named():
    with pytest.raises(InvalidInput, match="MS_NODE_ID='x'"):
        PodIdentity.from_environment({"MS_NODE_ID": "x"})


def test_what_the_user_has_set_stays():
    assert compute_environment({}, "cpu")["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert compute_environment({"ONEDNN_MAX_CPU_ISA": "SSE41"}, "cpu")["ONEDNN_MAX_CPU_ISA"] == "SSE41"
    assert "ONEDNN_MAX_CPU_ISA" not in compute_environment({}, "ascend")


@pytest.mark.parametrize(
    ("shares", "expected"),
    [(1, [{0, 1, 2, 3, 4}]), (2, [{0, 1}, {2, 3, 4}]), (5, [{0}, {1}, {2}, {3}, {4}]), (6, [{0, 1, 2, 3, 4}] * 6)],
)
def test_cores_are_shared_without_overlap_where_there_are_enough(shares, expected):
    assert [core_share({0, 1, 2, 3, 4}, shares, number) for number in range(shares)] == expected
