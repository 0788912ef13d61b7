"""Whether a network takes the weights of another one."""

from typing import Any

import pytest

from arcface_api.architectures import misfit
from arcface_api.resource.spec import InitFromSpec, ModelSpec

OURS = ModelSpec(init_from=InitFromSpec(claim_name="models"), freeze_epochs=2, dropout=0.4)


def test_dropout_and_the_origin_of_weights_shape_no_tensor() -> None:
    assert misfit(OURS, ModelSpec()) is None
    assert OURS.network == ModelSpec(dropout=0.4)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"backbone": "iresnet50"}, "model.backbone is iresnet100, the checkpoint's is iresnet50"),
        ({"width": 0.5, "embedding_size": 128}, "model.width is 1.0, the checkpoint's is 0.5"),
        ({"stem_stride": 2}, "model.stemStride is 1, the checkpoint's is 2"),
        ({"embedding_size": 128}, "model.embeddingSize is 512, the checkpoint's is 128"),
    ],
)
def test_another_network_is_told_by_the_first_field_that_differs(theirs: dict[str, Any], said: str) -> None:
    assert misfit(OURS, ModelSpec(**theirs)) == said
