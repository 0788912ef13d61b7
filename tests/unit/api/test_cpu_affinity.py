import pytest
from hypothesis import given, strategies as st

from arcface_api.cpu_affinity import core_share, core_shares_near


@pytest.mark.parametrize(
    ("shares", "expected"),
    [(1, [{0, 1, 2, 3, 4}]), (2, [{0, 1}, {2, 3, 4}]), (5, [{0}, {1}, {2}, {3}, {4}]), (6, [{0, 1, 2, 3, 4}] * 6)],
)
def test_cores_are_shared_without_overlap_where_there_are_enough(shares, expected):
    assert [core_share({0, 1, 2, 3, 4}, shares, number) for number in range(shares)] == expected


def cores(*ranges: tuple[int, int]) -> frozenset[int]:
    return frozenset(core for first, end in ranges for core in range(first, end))


def test_ranks_near_nothing_known_share_evenly():
    assert core_shares_near({0, 1, 2, 3, 4}, [frozenset(), frozenset()]) == [{0, 1}, {2, 3, 4}]


def test_two_ranks_a_node_halve_it():
    near = [cores((4, 8)), cores((0, 4)), cores((4, 8)), cores((0, 4))]
    assert core_shares_near(set(range(8)), near) == [{4, 5}, {0, 1}, {6, 7}, {2, 3}]


def test_cores_of_nodes_without_cards_go_to_the_ranks_beside_them():
    """Eight NUMA nodes of two cores, cards at every other one: four ranks."""
    near = [cores((2 * node, 2 * node + 2)) for node in (6, 4, 2, 0)]
    assert core_shares_near(set(range(16)), near) == [
        {12, 13, 14, 15},
        {8, 9, 10, 11},
        {4, 5, 6, 7},
        {0, 1, 2, 3},
    ]


def test_a_pod_that_may_use_few_cores_divides_those():
    """The node's other cores are not the pod's; near ones are, where there are enough."""
    near = [cores((0, 24)), cores((24, 48))]
    assert core_shares_near({20, 21, 22, 23}, near) == [{20, 21}, {22, 23}]
    assert core_shares_near({23, 24}, [cores((24, 48)), cores((0, 24))]) == [{24}, {23}]


def test_ranks_without_a_core_each_share_all():
    assert core_shares_near({3, 4}, [cores((0, 8))] * 3) == [{3, 4}] * 3


@given(st.sets(st.integers(0, 63), min_size=1), st.lists(st.sampled_from([0, 1, 2, None]), min_size=1, max_size=8))
def test_shares_are_disjoint_whole_and_even(allowed, nodes):
    near = [frozenset() if node is None else cores((node * 16, node * 16 + 16)) for node in nodes]
    shares = core_shares_near(allowed, near)
    if len(allowed) < len(nodes):
        assert shares == [allowed] * len(nodes)
        return
    assert set().union(*shares) == allowed
    assert sum(map(len, shares)) == len(allowed)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
