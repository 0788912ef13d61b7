"""How what is not finite travels as one number a rank, and what it is called."""

import numpy as np
import pytest
from mindspore import Tensor

from arcface_trainer.step.faults import BITS, CENTERS, FORWARD, IN_A_SUM, FaultFinder, group_names, read_faults

NAMES = group_names(["stem", "layer1", "layer2", "output"], [(2, 4), (1, 2), (0, 1)])
EMBEDDINGS, STATISTICS, LOSS, CENTERS_BIT, LAST_LAYERS, LAYER1, STEM = (1 << bit for bit in range(7))


def findings(bad, buckets=3, ranks=4, rank=2):
    """What a rank finds where these groups are not finite, each in another way."""
    kinds = (np.nan, np.inf, -np.inf)
    values = [
        np.array([1.0, kinds[group % 3] if group in bad else 2.0, 3.0], np.float32) for group in range(4 + buckets)
    ]
    sums = [Tensor(value.sum(keepdims=True)) for value in values[:4]]
    found = FaultFinder(buckets, ranks, rank)(tuple(sums[:3]), sums[3], [Tensor(value) for value in values[4:]])
    return found.asnumpy().tolist()


@pytest.mark.parametrize("bad", [(), (0,), (1,), (2,), (3,), (4,), (6,), (0, 2, 3, 4, 5, 6)], ids=str)
def test_a_rank_tells_a_bit_for_each_group_at_its_own_place(bad):
    assert findings(bad) == [0, 0, sum(1 << group for group in bad), 0]


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        pytest.param((0, 0, EMBEDDINGS, 0), "the embeddings not finite on rank 2", id="one rank, before it spreads"),
        pytest.param(
            (LOSS | STEM, LOSS | STEM, EMBEDDINGS | LOSS | STEM, LOSS),
            "the embeddings not finite on rank 2",
            id="one rank's spoil the loss of all",
        ),
        pytest.param((0, STATISTICS, 0, 0), f"{FORWARD[1]} not finite on rank 1", id="statistics"),
        pytest.param((0, 0, 0, LOSS), "the loss not finite on rank 3", id="a loss"),
        pytest.param((CENTERS_BIT, 0, 0, 0), f"{CENTERS} not finite on rank 0", id="centres"),
        pytest.param(
            (0, LAYER1 | STEM, 0, 0),
            "the gradient of layer1 not finite on rank 1",
            id="where the backward pass came to it first",
        ),
        pytest.param(
            (0, 0, 0, LAST_LAYERS | STEM), "the gradient of layer2..output not finite on rank 3", id="a bucket"
        ),
        pytest.param((LOSS, LOSS, LOSS, LOSS), "the loss not finite", id="all ranks"),
        pytest.param((0, 0, 0, 0), str(IN_A_SUM), id="finite numbers with an infinite sum"),
    ],
)
def test_what_came_first_on_any_rank_is_named(ranks, said):
    assert str(read_faults(ranks, NAMES)) == said


def test_only_the_backward_pass_may_fit_at_a_lower_scale():
    found = [read_faults((1 << bit,), NAMES).is_gradient for bit in range(7)]
    assert found == [False, False, False, True, True, True, True]


def test_a_network_of_very_many_buckets_still_tells_whole_numbers():
    buckets = 2 * BITS - 4
    (found,) = findings(range(4, 4 + buckets), buckets, ranks=1, rank=0)
    assert found == int(found)
    assert 0 < found < 2**24
    assert read_faults((float(1 << BITS + 3),), NAMES).is_gradient
