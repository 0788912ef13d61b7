"""What is known of pairs belongs together, by group and by person."""

import numpy as np
import pytest

from arcface_faces.scores import Groups, Scores, Subjects

SAME = np.array([True, False, True, False])
SCORES = np.array([0.9, 0.1, 0.4, 0.6])


def groups(codes, names=("African", "Asian")):
    return Groups(names, np.array(codes, np.int32))


def test_templates_that_genuine_pairs_link_are_one_person():
    first, second = np.array([5, 6, 1, 8, 2], np.int32), np.array([6, 7, 2, 9, 8], np.int32)
    found = Subjects.linked(first, second, np.array([True, True, True, True, False])).subject
    assert found[5] == found[6] == found[7]
    assert found[1] == found[2]
    assert found[8] == found[9]
    assert len({int(found[side]) for side in (0, 1, 3, 4, 5, 8)}) == 6


def test_a_long_chain_of_templates_is_one_person():
    order = np.random.default_rng(0).permutation(1000).astype(np.int32)
    assert set(Subjects.linked(order[:-1], order[1:], np.ones(999, bool)).subject.tolist()) == {0}


def test_decisions_are_right_where_they_are_the_truth():
    assert Scores(SCORES, SAME).is_right is None
    assert Scores(SCORES, SAME, is_accepted=SCORES > 0.5).is_right.tolist() == [True, True, False, False]


def test_a_group_has_its_own_pairs_with_all_that_is_known_of_them():
    sides = np.arange(4, dtype=np.int32), np.arange(4, 8, dtype=np.int32)
    scores = Scores(SCORES, SAME, SCORES > 0.5, groups([1, 0, 1, -1]), Subjects.linked(*sides, SAME))
    (african, few), (asian, more) = scores.by_group()
    assert (african, few.score.tolist()) == ("African", [0.1])
    assert (asian, more.score.tolist(), more.is_right.tolist()) == ("Asian", [0.9, 0.4], [True, False])
    assert (more.subjects.first.tolist(), more.subjects.second.tolist()) == ([0, 2], [4, 6])
    assert more.groups is None
    assert list(Scores(SCORES, SAME).by_group()) == []


@pytest.mark.parametrize(
    "known",
    [{"is_accepted": SAME[:3]}, {"groups": groups([0])}, {"is_same": SAME[:2]}, {"score": SCORES.reshape(2, 2)}],
    ids=["decisions", "groups", "truth", "table"],
)
def test_what_is_about_other_pairs_is_a_mistake(known):
    with pytest.raises(ValueError, match="differ in shape"):
        Scores(**{"score": SCORES, "is_same": SAME, **known})


def test_a_group_without_a_name_is_a_mistake():
    with pytest.raises(ValueError, match="a pair is of group 2 of 2"):
        groups([0, 2])
