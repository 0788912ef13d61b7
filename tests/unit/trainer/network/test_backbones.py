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


def test_scale_of_the_last_normalisation_is_not_trained():
    network = build_backbone(ModelSpec(backbone="iresnet18", width=0.0625, embedding_size=32))
    frozen = [name for name, parameter in network.parameters_and_names() if not parameter.requires_grad]
    assert "features.gamma" in frozen
    assert all(name == "features.gamma" or "moving_" in name for name in frozen)
