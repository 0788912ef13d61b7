"""Layers counted by hand against published networks and those that the trainer builds."""

import pytest

from arcface_api.resource.spec import Backbone, ModelSpec
from arcface_operator.preflight.layers import backbone_layers, network_size


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        pytest.param("iresnet18", 24_025_600, id="r18"),
        pytest.param("iresnet34", 34_139_328, id="r34"),
        pytest.param("iresnet50", 43_590_848, id="r50"),
        pytest.param("iresnet100", 65_156_160, id="r100"),
        pytest.param("iresnet200", 118_833_920, id="r200"),
    ],
)
def test_parameters_of_the_published_networks(backbone: Backbone, count: int) -> None:
    assert network_size(ModelSpec(backbone=backbone)).parameters == count


@pytest.mark.parametrize(
    ("model", "count", "statistics"),
    [
        pytest.param(ModelSpec(backbone="mobilefacenet"), 2_059_520, 23_808, id="mobilefacenet"),
        pytest.param(
            ModelSpec(backbone="mobilefacenet", width=0.37, embedding_size=128),
            292_549,
            8_690,
            id="narrow mobile",
        ),
        pytest.param(
            ModelSpec(backbone="iresnet18", width=0.3, stem_stride=2, embedding_size=128),
            1_328_812,
            4_364,
            id="narrow",
        ),
    ],
)
def test_counts_are_those_of_the_built_networks(model: ModelSpec, count: int, statistics: int) -> None:
    """The numbers were read off the trainer's networks, parameter by parameter."""
    found = network_size(model)
    assert (found.parameters, found.statistics) == (count, statistics)


def test_stem_stride_quarters_the_outputs_but_not_the_convolutions() -> None:
    near, far = (ModelSpec(backbone="iresnet18", stem_stride=stride) for stride in (1, 2))
    outputs = [sum(layer.outputs for layer in backbone_layers(model)) for model in (near, far)]
    assert outputs[0] / outputs[1] == pytest.approx(4, rel=0.05)
    # Only the embedding layer shrinks: 7x7 maps become 4x4.
    assert network_size(near).parameters - network_size(far).parameters == (49 - 16) * 512 * 512


def test_the_last_scale_of_an_iresnet_is_fixed_and_every_parameter_of_mobilefacenet_is_trained() -> None:
    for backbone, fixed in (("iresnet18", 512), ("mobilefacenet", 0)):
        found = network_size(ModelSpec(backbone=backbone))
        assert found.parameters - found.trainable == fixed
