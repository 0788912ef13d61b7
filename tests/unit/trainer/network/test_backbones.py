from collections import Counter

import mindspore
import numpy as np
import pytest
from mindspore import Tensor

from arcface_api.resource.spec import ModelSpec
from arcface_operator.preflight.layers import backbone_layers
from arcface_trainer.network.backbones import STATISTICS_SUFFIXES, build_backbone


def sizes(model):
    """Numbers of trained parameters and of running statistics."""
    parameters = build_backbone(model).get_parameters()
    counts = {True: 0, False: 0}
    for parameter in parameters:
        counts[parameter.name.endswith(STATISTICS_SUFFIXES)] += parameter.size
    return counts[False], counts[True]


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        ("iresnet18", 24_025_600),
        ("iresnet34", 34_139_328),
        ("iresnet50", 43_590_848),
        ("iresnet100", 65_156_160),
        ("iresnet200", 118_833_920),
    ],
)
def test_parameter_counts_are_the_references(backbone, count):
    """N1: InsightFace's iresnet at 512 features, all batch-normalisation scales counted."""
    assert sizes(ModelSpec(backbone=backbone))[0] == count


REFERENCE_MOBILEFACENET = [
    # Convolutions of InsightFace's get_mbf at 512 features: inputs a group, outputs, kernel, PReLU; their number.
    ((3, 128, 3, True), 1),
    ((2, 128, 3, True), 1),
    *[((128, 128, 1, True), 5), ((1, 128, 3, True), 5), ((128, 128, 1, False), 5)],
    *[((128, 256, 1, True), 1), ((1, 256, 3, True), 1), ((256, 256, 1, False), 1)],
    *[((256, 256, 1, True), 6), ((1, 256, 3, True), 6), ((256, 256, 1, False), 6)],
    *[((256, 512, 1, True), 1), ((1, 512, 3, True), 1), ((512, 256, 1, False), 1)],
    *[((256, 256, 1, True), 2), ((1, 256, 3, True), 2), ((256, 256, 1, False), 2)],
    ((256, 512, 1, True), 1),
    ((1, 512, 7, False), 1),
]


def test_mobilefacenet_is_the_references():
    """2.06 million parameters: the layers one by one, so that no two errors cancel."""
    wanted = Counter({layer[:3]: 0 for layer, _ in REFERENCE_MOBILEFACENET})
    count = 512 * 512 + 2 * 512
    for (inputs, outputs, kernel, is_active), number in REFERENCE_MOBILEFACENET:
        wanted[inputs, outputs, kernel] += number
        count += number * outputs * (inputs * kernel**2 + 2 + is_active)
    network = build_backbone(ModelSpec(backbone="mobilefacenet"))
    shapes = [parameter.shape for parameter in network.get_parameters()]
    assert Counter((shape[1], shape[0], shape[2]) for shape in shapes if len(shape) == 4) == wanted
    assert sizes(ModelSpec(backbone="mobilefacenet"))[0] == count == 2_059_520


def test_mobilefacenet_starts_as_the_reference_does():
    """`kaiming_normal_` with fan_out and relu: sqrt(2 / (outputs * kernel^2)), whatever the groups."""
    mindspore.set_seed(3)
    network = build_backbone(ModelSpec(backbone="mobilefacenet"))
    for name, parameter in network.parameters_and_names():
        values = parameter.asnumpy()
        if values.ndim >= 2 and values.size > 10_000:
            outputs, _, *kernel = values.shape
            assert values.std() == pytest.approx(np.sqrt(2 / (outputs * np.prod(kernel, initial=1))), rel=0.03), name
            assert abs(values.mean()) < 0.05 * values.std(), name


@pytest.mark.parametrize("width", [0.05, 0.37, 1.0])
@pytest.mark.parametrize(
    ("backbone", "stem_stride"), [("iresnet18", 1), ("iresnet18", 2), ("iresnet34", 1), ("mobilefacenet", 1)]
)
def test_a_plan_counts_what_the_network_holds(backbone, width, stem_stride):
    model = ModelSpec(backbone=backbone, width=width, stem_stride=stem_stride, embedding_size=64)
    layers = backbone_layers(model)
    assert (sum(layer.parameters for layer in layers), sum(layer.statistics for layer in layers)) == sizes(model)


@pytest.mark.parametrize(
    "model",
    [
        ModelSpec(backbone="iresnet18", width=0.0625, embedding_size=32),
        ModelSpec(backbone="iresnet18", width=0.0625, embedding_size=32, stem_stride=2),
        ModelSpec(backbone="mobilefacenet", width=0.25, embedding_size=32),
    ],
    ids=["iresnet", "iresnet stride 2", "mobilefacenet"],
)
def test_images_become_embeddings(model):
    network = build_backbone(model)
    network.set_train(mode=False)
    embeddings = network(Tensor(np.zeros((2, 3, 112, 112), np.float32))).asnumpy()
    assert embeddings.shape == (2, 32)
    assert embeddings.dtype == np.float32


@pytest.mark.parametrize(("backbone", "fixed"), [("iresnet18", ["features.gamma"]), ("mobilefacenet", [])])
def test_scale_of_an_iresnets_last_normalisation_is_not_trained(backbone, fixed):
    network = build_backbone(ModelSpec(backbone=backbone, width=0.0625, embedding_size=32))
    frozen = [name for name, parameter in network.parameters_and_names() if not parameter.requires_grad]
    assert [name for name in frozen if not name.endswith(STATISTICS_SUFFIXES)] == fixed
