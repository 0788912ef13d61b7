"""How what is not finite travels as one number a rank, and what it is called."""

import numpy as np
import pytest
from mindspore import Tensor

from arcface_trainer.step.faults import CENTERS, FORWARD, IN_A_SUM, MOST_ROWS, FaultFinder, Groups, read_faults

SIZES = {"stem": 24, "layer1": 40, "layer2": 16, "norm.beta": 8, "output": 56}
GROUPS = Groups.of(SIZES, [(2, 5), (1, 2), (0, 1)])
IN_ORDER = [*FORWARD, CENTERS, *(f"the gradient of {name}" for name in ("output", "norm.beta", "layer2", "layer1"))]
"""As a step comes to them: of a bucket the last tensor first; the stem's gradient is the last."""
EMBEDDINGS, STATISTICS, HEAD, LOSS, OF_CENTERS, OUTPUT, BETA, LAYER2, LAYER1, STEM = range(10, 0, -1)


def findings(bad, ranks=4, rank=2):
    """What a rank finds where the last element of these is not finite, each in another way."""
    kinds = (np.nan, np.inf, -np.inf)
    values = [np.array([kinds[number % 3] if name in bad else 2.0], np.float32) for number, name in enumerate(FORWARD)]
    centers = np.array([np.nan if CENTERS in bad else 1.0], np.float32)
    gradients = {name: np.ones(size, np.float32) for name, size in SIZES.items()}
    for number, name in enumerate(sorted(set(bad) & set(gradients))):
        gradients[name][-1] = kinds[number % 3]
    buckets = [("layer2", "norm.beta", "output"), ("layer1",), ("stem",)]
    messages = [Tensor(np.concatenate([gradients[name] for name in names])) for names in buckets]
    found = FaultFinder(GROUPS, ranks, rank)(tuple(map(Tensor, values)), Tensor(centers), messages)
    return found.asnumpy().tolist()


@pytest.mark.parametrize(
    ("bad", "earliest"),
    [
        ((), 0),
        (("the embeddings",), EMBEDDINGS),
        (("the class centres", "the loss", CENTERS), HEAD),
        (("the loss", CENTERS, "stem"), LOSS),
        ((CENTERS,), OF_CENTERS),
        (("output",), OUTPUT),
        (("norm.beta",), BETA),
        (("layer2", "norm.beta"), BETA),
        (("layer2",), LAYER2),
        (("layer1",), LAYER1),
        (("stem",), STEM),
        ((*FORWARD, CENTERS, *SIZES), EMBEDDINGS),
    ],
    ids=str,
)
def test_a_rank_tells_the_first_of_its_groups_at_its_own_place(bad, earliest):
    assert findings(bad) == [0, 0, earliest, 0]


def test_groups_are_named_in_the_order_in_which_a_step_comes_to_them():
    assert list(GROUPS.names) == [*IN_ORDER, "the gradient of stem"]


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        pytest.param((0, 0, EMBEDDINGS, 0), "the embeddings not finite on rank 2", id="one rank, before it spreads"),
        pytest.param(
            (LOSS, LOSS, EMBEDDINGS, LOSS), "the embeddings not finite on rank 2", id="one rank's spoil the loss of all"
        ),
        pytest.param((0, STATISTICS, 0, 0), f"{FORWARD[1]} not finite on rank 1", id="statistics"),
        pytest.param((LOSS, LOSS, LOSS, HEAD), "the class centres not finite on rank 3", id="one rank's centres, too"),
        pytest.param((0, 0, 0, LOSS), "the loss not finite on rank 3", id="a loss"),
        pytest.param((OF_CENTERS, 0, 0, 0), f"{CENTERS} not finite on rank 0", id="centres"),
        pytest.param((STEM, LAYER1, 0, 0), "the gradient of layer1 not finite on rank 1", id="a tensor"),
        pytest.param((0, 0, 0, BETA), "the gradient of norm.beta not finite on rank 3", id="a tensor within a bucket"),
        pytest.param((LOSS, LOSS, LOSS, LOSS), "the loss not finite", id="all ranks"),
        pytest.param((0, 0, 0, 0), str(IN_A_SUM), id="finite numbers with an infinite sum"),
    ],
)
def test_what_came_first_on_any_rank_is_named(ranks, said):
    assert str(read_faults(ranks, GROUPS.names)) == said


def test_only_gradients_of_the_backbone_may_fit_at_a_lower_scale():
    found = [read_faults((earliness,), GROUPS.names).is_scaled for earliness in range(10, 0, -1)]
    assert found == [False, False, False, False, False, True, True, True, True, True]


def test_a_step_without_a_backward_pass_tells_the_same_groups_by_the_same_numbers():
    forward = tuple(Tensor(np.array([value], np.float32)) for value in (1.0, 1.0, 1.0, np.nan))
    found = FaultFinder(GROUPS.head, 1, 0)(forward, Tensor(np.ones(1, np.float32)), []).asnumpy().tolist()
    assert found == [LOSS]


def test_a_large_bucket_without_a_common_divisor_is_told_by_its_ends():
    groups = Groups.of({"first": MOST_ROWS, "middle": 3, "last": MOST_ROWS + 1}, [(0, 3)])
    assert (groups.names[-1], groups.widths) == ("the gradient of first..last", (2 * MOST_ROWS + 4,))
    assert Groups.of({"first": 64 * MOST_ROWS, "last": 64}, [(1, 2), (0, 1)]).widths == (64, 64 * MOST_ROWS)


def test_every_tensor_of_the_largest_networks_is_told_apart():
    """Convolutions and normalisations of 64 channels and more, and a bucket of 32 MiB."""
    sizes = {"conv": 512 * 512 * 9, "norm.gamma": 512, "norm.beta": 512, "prelu": 64, "other": 512 * 512 * 9}
    assert len(Groups.of(sizes, [(0, 5)]).names) == len(FORWARD) + 1 + 5
