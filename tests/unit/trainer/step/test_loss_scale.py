"""The loss scale by itself, and in real steps that overflow."""

import numpy as np
import pytest
from mindspore import Tensor, float32, int32, nn, ops

from arcface_api.resource.spec import LossSpec, OptimizerSpec
from arcface_faces.checkpoint import ClassRange, LossScale
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.layers import trunk_cast
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.loss_scale import CEILING, FLOOR, GROWTH_INTERVAL, INITIAL, DynamicLossScale, OverflowFlag
from arcface_trainer.step.train_step import TrainStep
from arcface_trainer.step.votes import NO_VOTES, encode_votes

pytestmark = pytest.mark.usefixtures("graph_mode")
CLASSES, EMBEDDING, BATCH, GREATEST = 6, 8, 4, 65504.0
FITS = LossScale(scale=4.0, good_steps=0)
"""A scale that this small network's gradient does not overflow with."""


@pytest.mark.parametrize(
    ("before", "is_finite", "after"),
    [
        pytest.param((INITIAL, 0), True, (INITIAL, 1), id="a good step is counted"),
        pytest.param((INITIAL, 5), False, (INITIAL / 2, 0), id="an overflow halves it and the count starts anew"),
        pytest.param((INITIAL, GROWTH_INTERVAL - 1), True, (2 * INITIAL, 0), id="it doubles after 2,000 good steps"),
        pytest.param((INITIAL, GROWTH_INTERVAL - 1), False, (INITIAL / 2, 0), id="an overflow in the last of them"),
        pytest.param((FLOOR, 3), False, (FLOOR, 0), id="it does not fall below its floor"),
        pytest.param((CEILING, GROWTH_INTERVAL - 1), True, (CEILING, 0), id="nor rise above its ceiling"),
    ],
)
def test_the_scale_goes_by_the_steps(before, is_finite, after):
    loss_scale = DynamicLossScale()
    loss_scale.load(LossScale(scale=before[0], good_steps=before[1]))
    following = loss_scale(Tensor(is_finite))
    assert loss_scale.save() == LossScale(scale=after[0], good_steps=after[1])
    assert following.asnumpy() == after[0]


class Backbone(nn.Cell):
    """The smallest network with a float16 trunk and statistics."""

    def __init__(self, cast):
        super().__init__()
        self.pool = nn.AvgPool2d(kernel_size=28, stride=28)
        self.cast = cast
        self.dense = nn.Dense(48, EMBEDDING)
        self.norm = nn.BatchNorm1d(EMBEDDING)

    def construct(self, images):
        x = self.cast(self.pool(images)).reshape(images.shape[0], -1)
        x = ops.matmul(x, self.cast(self.dense.weight).T) + self.dense.bias
        return self.norm(self.cast(x).astype(float32))


class SaturatingChip:
    """A chip without Inf: what does not fit becomes the greatest number and raises a flag that stays until cleared.

    As the documents of `NPUGetFloatStatusV2` and `NPUClearFloatStatusV2` have it: both take and give eight int32. These
    kernels run on the host when the graph comes to them, so that their order is the one that the graph demands.
    """

    def __init__(self):
        self.is_raised = False
        self.kernels = []
        self.cast = _Saturate(_kernel(self._saturate, np.float32))
        self.flag = OverflowFlag()
        self.flag.clear, self.flag.get = _kernel(self._clear, np.int32), _kernel(self._get, np.int32)

    def _saturate(self, x):
        self.kernels.append("compute")
        self.is_raised |= bool((np.abs(x) > GREATEST).any())
        return np.clip(x, -GREATEST, GREATEST)

    def _clear(self, status):
        self.kernels.append("clear")
        self.is_raised = False
        return status

    def _get(self, status):
        self.kernels.append("get")
        return np.full_like(status, self.is_raised)


def _kernel(function, dtype):
    kind = {np.float32: float32, np.int32: int32}[dtype]
    return ops.Custom(function, out_shape=lambda x: x, out_dtype=lambda _: kind, func_type="pyfunc")


class _Saturate(nn.Cell):
    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def construct(self, x):
        return self.kernel(x)

    def bprop(self, _x, _out, d_out):
        return (self.kernel(d_out),)


class _TooLarge(nn.Cell):
    """A product whose result does not fit into float16."""

    def __init__(self, product, cast):
        super().__init__()
        self.product, self.cast = product, cast

    def construct(self, a, b):
        return self.cast(self.product(a, b) + 2 * GREATEST)


def make_step(cast, **parts):
    classes, alone = ClassRange(0, CLASSES), Collectives(1, 0)
    head = Classifier(LossSpec(scale=8.0), classes, initial_centers(classes, EMBEDDING, seed=1), alone)
    gradient_step = GradientStep(Backbone(cast), head, alone, **parts)
    return TrainStep(gradient_step, OptimizerSpec(learning_rate=0.1), clip_norm=5.0)


def run(step):
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (BATCH, 3, 112, 112)).astype(np.uint8)
    return step.launch(images, np.arange(BATCH, dtype=np.int32), rate=0.1).result()


def state(step):
    named = {f"{number}": weight for number, weight in enumerate(step.gradient_step.weights)}
    named |= {"centers": step.gradient_step.classifier.centers}
    arrays = {name: weight.asnumpy().copy() for name, weight in named.items()}
    arrays |= {f"momentum of {name}": array for name, array in step.update.host_momentum(named).items()}
    return arrays | step.statistics.by_name(step.statistics.host_vector())


def float16_steps():
    """Of a chip that has Inf, and of one that saturates."""
    chip = SaturatingChip()
    return [
        make_step(trunk_cast("fp16", None), loss_scale=DynamicLossScale()),
        make_step(chip.cast, loss_scale=DynamicLossScale(), overflow_flag=chip.flag),
    ]


@pytest.mark.parametrize("step", float16_steps(), ids=["Inf", "saturating"])
def test_an_overflow_skips_its_step_alone_to_the_bit_and_halves_the_scale(step):
    step.loss_scale.load(FITS)
    assert (run(step).is_applied, step.loss_scale.save()) == (True, LossScale(scale=FITS.scale, good_steps=1))
    before = state(step)
    step.loss_scale.load(LossScale(scale=2.0**40, good_steps=9))
    result = run(step)
    assert (result.is_applied, result.loss_scale) == (False, 2.0**39)
    assert np.isfinite(result.loss)
    for name, array in state(step).items():
        assert array.tobytes() == before[name].tobytes(), name
    step.loss_scale.load(FITS)
    assert run(step).is_applied
    assert any((array != before[name]).any() for name, array in state(step).items())


def test_the_flag_is_down_before_the_first_operator_and_read_after_the_last():
    """Also where only the centres' gradient overflows, which nothing of the backbone's depends on."""
    chip = SaturatingChip()
    step = make_step(chip.cast, loss_scale=DynamicLossScale(), overflow_flag=chip.flag)
    step.loss_scale.load(FITS)
    head = step.gradient_step.classifier
    head.transposed_times = _TooLarge(head.transposed_times, chip.cast)
    before = state(step)
    assert not run(step).is_applied
    first, *computed, last = chip.kernels
    assert (first, set(computed), last) == ("clear", {"compute"}, "get")
    assert all(array.tobytes() == before[name].tobytes() for name, array in state(step).items())


class _Awaited(OverflowFlag):
    """In place of the flag: of how many numbers it must not be asked before they are there."""

    def __init__(self):
        super().__init__()
        self.clear = ops.Identity()

    def raised_by(self, results):
        return sum(result.size for result in results) * ops.ones(1, float32)


def test_the_flag_waits_for_every_gradient():
    """However a device orders what is independent: the centres' gradient is needed for nothing before the sums."""
    step = make_step(trunk_cast("fp16", None), overflow_flag=_Awaited()).gradient_step
    images, labels_b = Tensor(np.zeros((BATCH, 3, 112, 112), np.uint8)), Tensor(np.arange(BATCH, dtype=np.int32))
    summary, gradients = step(images, labels_b, encode_votes(NO_VOTES, 0.0, 1, 0))
    assert summary.asnumpy()[-1] == sum(gradient.size for gradient in gradients)


def test_the_scale_changes_no_digit_of_an_update_that_fits():
    """A power of two, and numbers that neither overflow nor vanish."""
    plain, scaled = (
        make_step(trunk_cast("fp16", None)),
        make_step(trunk_cast("fp16", None), loss_scale=DynamicLossScale()),
    )
    for parameter, other in zip(plain.gradient_step.weights, scaled.gradient_step.weights, strict=True):
        other.set_data(Tensor(parameter.asnumpy()))
    scaled.loss_scale.load(FITS)
    assert run(plain).is_applied
    assert run(scaled).is_applied
    for name, array in state(plain).items():
        np.testing.assert_array_equal(array, state(scaled)[name])
