import pytest

from arcface_api.cpu_affinity import core_share


@pytest.mark.parametrize(
    ("shares", "expected"),
    [(1, [{0, 1, 2, 3, 4}]), (2, [{0, 1}, {2, 3, 4}]), (5, [{0}, {1}, {2}, {3}, {4}]), (6, [{0, 1, 2, 3, 4}] * 6)],
)
def test_cores_are_shared_without_overlap_where_there_are_enough(shares, expected):
    assert [core_share({0, 1, 2, 3, 4}, shares, number) for number in range(shares)] == expected
