"""How the gradients of a network are dealt out to buckets."""

import numpy as np
from mindspore import Parameter, Tensor

from arcface_trainer.step.gradients import gradient_buckets


def weights(*sizes):
    return [Parameter(Tensor(np.zeros(size, np.float32)), name=f"weight{number}") for number, size in enumerate(sizes)]


def test_buckets_begin_with_the_last_weights_whose_gradients_come_first():
    assert gradient_buckets(weights(10, 20, 30, 40), 4 * 50) == [(3, 4), (1, 3), (0, 1)]


def test_a_weight_larger_than_a_bucket_has_one_of_its_own():
    assert gradient_buckets(weights(10, 500, 10), 4 * 50) == [(2, 3), (1, 2), (0, 1)]


def test_every_weight_is_in_one_bucket():
    sizes = np.random.default_rng(0).integers(1, 100, 200).tolist()
    buckets = gradient_buckets(weights(*sizes), 4 * 150)
    assert [index for start, stop in reversed(buckets) for index in range(start, stop)] == list(range(200))
    assert all(sum(sizes[start:stop]) <= 150 for start, stop in buckets)
