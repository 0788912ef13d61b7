"""The trunk in lower precision: the real graph, its values rounded at each cast point, against NumPy's float64.

Roundings are no continuous function: two results that differ in the last bit of float32 are as far apart as the lower
precision after a few layers. So each part of the network is held to the reference on what it was given.
"""

import mindspore
import numpy as np
import pytest
from mindspore import ParameterTuple, Tensor, nn, ops

from arcface_api.architectures import Block
from arcface_api.resource.spec import ModelSpec
from arcface_trainer.device import ASCEND_910B
from arcface_trainer.network.backbones import Bottleneck, ResidualBlock, build_backbone, named_parameters
from arcface_trainer.network.layers import trunk_cast
from support.float64_network import Float64Network, exact, to_bfloat16, to_float16

MODEL = ModelSpec(backbone="iresnet18", width=0.125, stem_stride=2, embedding_size=16)
BATCH = 4
ROUNDING = {"fp32": exact, "fp16": to_float16, "bf16": to_bfloat16}
UNIT = {"fp16": 2.0**-11, "bf16": 2.0**-8}
"""Largest relative error of one rounding."""


class Parts(nn.Cell):
    """What a network makes of images, part by part: of its stem, of each block, and in the end."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.weights = ParameterTuple(network.trainable_params())

    def construct(self, images, d_embeddings):
        x = self.network.stem(images)
        parts = [x]
        for block in self.network.stages:
            x = block(x)
            parts.append(x)
        embeddings, backward = ops.vjp(self.network, images, weights=self.weights)
        return parts, embeddings, backward(d_embeddings)[1]


class Computed:
    """One forward and backward pass of a network in training, beside the reference with its weights."""

    def __init__(self, precision):
        random = np.random.default_rng(2)
        self.images = random.uniform(-1, 1, (BATCH, 3, 112, 112)).astype(np.float32)
        self.probe = random.normal(size=(BATCH, MODEL.embedding_size)).astype(np.float32)
        mindspore.set_seed(5)
        network = build_backbone(MODEL, trunk_cast(precision, None))
        network.set_train()
        parameters = named_parameters(network)
        for name, parameter in parameters.items():
            if name.endswith((".gamma", ".w")):  # no round numbers, which rounding would leave alone
                parameter.set_data(Tensor(random.uniform(0.2, 0.3, parameter.shape).astype(np.float32)))
        self.weights = {name: parameter.asnumpy().astype(np.float64) for name, parameter in parameters.items()}
        parts, embeddings, gradients = Parts(network)(Tensor(self.images), Tensor(self.probe))
        self.parts, self.embeddings = [part.asnumpy() for part in parts], embeddings.asnumpy()
        names = {id(parameter): name for name, parameter in parameters.items()}
        trained = [names[id(weight)] for weight in network.trainable_params()]
        self.gradients = {name: each.asnumpy() for name, each in zip(trained, gradients, strict=True)}

    def reference(self, lower):
        """Parts and embeddings, each from what the network itself had made before."""
        network = Float64Network(self.weights, lower)
        parts = [network.stem(self.images.astype(np.float64), MODEL.stem_stride)]
        parts += [network.block(number, part.astype(np.float64)) for number, part in enumerate(self.parts[:-1])]
        return parts, network.tail(self.parts[-1].astype(np.float64))

    def slope(self):
        """How fast probe * embeddings grows along the gradient, by central differences in float64."""
        length = np.sqrt(sum((each.astype(np.float64) ** 2).sum() for each in self.gradients.values()))
        values = []
        for sign in (1, -1):
            moved = {name: sign * 1e-5 / length * each for name, each in self.gradients.items()}
            network = Float64Network({name: value + moved.get(name, 0) for name, value in self.weights.items()}, exact)
            values.append((network.embeddings(self.images.astype(np.float64), MODEL.stem_stride) * self.probe).sum())
        return (values[0] - values[1]) / 2e-5, length


@pytest.fixture(scope="module")
def computed():
    return {precision: Computed(precision) for precision in ROUNDING}


def distance(found, wanted):
    """Relative error of all numbers together."""
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_values_are_rounded_where_an_operator_takes_them_and_nowhere_else(computed, precision):
    """A cast too many or too few moves a part as far as the precision itself does."""
    network = computed[precision]
    (rounded, embeddings), (unrounded, _) = network.reference(ROUNDING[precision]), network.reference(exact)
    for found, wanted, other in zip(network.parts, rounded, unrounded, strict=True):
        assert 0.3 * UNIT[precision] < distance(wanted, other) < 5 * UNIT[precision]
        assert distance(found, wanted) < 0.25 * distance(wanted, other)
    assert distance(network.embeddings, embeddings) < 0.1 * UNIT[precision]


def test_single_precision_is_not_rounded(computed):
    network = computed["fp32"]
    parts, embeddings = network.reference(exact)
    for found, wanted in zip((*network.parts, network.embeddings), (*parts, embeddings), strict=True):
        assert distance(found, wanted) < 1e-5


@pytest.mark.parametrize(("precision", "band"), [("fp32", 1e-4), ("fp16", 5e-3), ("bf16", 3e-2)])
def test_the_gradient_is_the_derivative(computed, precision, band):
    slope, length = computed[precision].slope()
    assert slope == pytest.approx(length, rel=band)


def test_gradients_of_what_is_cast_were_lower_numbers_and_those_of_float32_layers_were_not(computed):
    gradients = computed["fp16"].gradients
    for name, gradient in gradients.items():
        if name.endswith((".weight", ".w")):
            assert (gradient == gradient.astype(np.float16)).all() == (name != "embedding.weight"), name
    scales = np.concatenate([gradient for name, gradient in gradients.items() if name.endswith(".gamma")])
    assert np.mean(scales == scales.astype(np.float16)) < 0.1


@pytest.mark.parametrize(
    "make", [lambda cast: ResidualBlock(Block(4, 4, 8, 2), cast), lambda cast: Bottleneck(Block(4, 8, 4, 1), cast)]
)
def test_the_casts_of_a_chip_give_a_graph_of_float16_tensors(make):
    """MindSpore's CPU runs it, if slowly: every operator takes what it is given, forwards and backwards."""
    block = make(trunk_cast("fp16", ASCEND_910B))
    block.set_train()
    weights = ParameterTuple(block.trainable_params())
    x = Tensor(np.random.default_rng(1).normal(size=(2, 4, 8, 8)).astype(np.float32))
    found, backward = ops.vjp(block, x, weights=weights)
    assert found.dtype == mindspore.float16
    assert {gradient.dtype for gradient in backward(found)[1]} == {mindspore.float32}


@pytest.mark.usefixtures("graph_mode")
@pytest.mark.parametrize(
    "make", [lambda cast: ResidualBlock(Block(4, 4, 8, 2), cast), lambda cast: Bottleneck(Block(4, 8, 4, 1), cast)]
)
def test_type_inference_takes_the_bfloat16_graph_though_no_cpu_kernel_does(make):
    """In graph mode, in which trainings run: without it MindSpore looks at an operator's types less closely."""
    with pytest.raises(TypeError, match="Select CPU operator"):
        make(trunk_cast("bf16", ASCEND_910B))(Tensor(np.ones((2, 4, 8, 8), np.float32)))
