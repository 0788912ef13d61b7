"""How many kernels a step takes beside those of its network and head: on a card each costs as much as its launch."""

import pytest

from arcface_api.resource.spec import ModelSpec
from support.processes.step_kernels import StepKernels, step_kernels

MODEL = ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=16)
A_WEIGHT = 1
"""The kernel that writes it back."""
A_STATISTIC = 1
"""That one; it is read once, after the forward pass, and nothing writes it after that."""
A_STEP = 68
"""Norm, clip, guard, faults and momentum, on flat vectors, however many tensors there are: 64 are measured."""


@pytest.fixture(scope="module")
def kernels() -> StepKernels:
    return step_kernels(MODEL, batch=2, class_count=10)


def test_a_tensor_costs_no_more_kernels_than_what_reads_and_writes_it(kernels):
    most = A_WEIGHT * kernels.weights + A_STATISTIC * kernels.statistics + A_STEP
    assert kernels.portable.bookkeeping.total() <= most, kernels.portable.bookkeeping


def test_on_a_cpu_a_tensor_costs_the_slice_of_the_vector_besides(kernels):
    tensors = kernels.weights + kernels.statistics
    assert kernels.on_cpu.bookkeeping.total() <= kernels.portable.bookkeeping.total() + tensors
