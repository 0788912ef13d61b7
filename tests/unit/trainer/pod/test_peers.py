"""Which pod keeps whose class centres, and how launchers find each other."""

from itertools import combinations

import pytest

from arcface_trainer.pod.peers import keeper_of, kept_by


@pytest.mark.parametrize("pods", range(2, 12))
def test_every_pod_is_kept_by_exactly_one_other(pods):
    kept = [kept_by(pod, pods) for pod in range(pods)]
    assert sorted(kept) == list(range(pods))
    assert all(kept[pod] != pod and keeper_of(kept[pod], pods) == pod for pod in range(pods))


@pytest.mark.parametrize(("pods", "lost"), [(2, 1), (4, 2), (6, 3), (16, 8), (3, 3), (5, 4), (9, 6)])
def test_so_many_pairs_of_pods_hold_all_there_is_of_a_state(pods, lost):
    pairs = [set(pair) for pair in combinations(range(pods), 2)]
    assert sum(any({pod, keeper_of(pod, pods)} == pair for pod in pair) for pair in pairs) == lost


def test_each_launcher_learns_from_pod_0_where_the_others_are(gang):
    first, second, another = gang
    shown = first.peers.shelf()
    assert second.peers.addresses(second.peers.shelf()).of(0) is None
    assert first.peers.addresses(shown).of(2) == second.launches.identity.address
    assert second.peers.addresses(second.peers.shelf()).of(0) == first.launches.identity.address
    replaced = another(2, 3, launch=1)
    assert replaced.peers.addresses(replaced.peers.shelf()).of(0) == first.launches.identity.address
    assert first.peers.addresses(shown).of(2) == replaced.launches.identity.address
