import pytest

from arcface_api.cpu_affinity import core_share
from arcface_trainer.pod.environment import compute_environment


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
