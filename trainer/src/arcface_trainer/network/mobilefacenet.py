"""MobileFaceNet as InsightFace trains it (arcface_torch/backbones/mobilefacenet.py), which published figures come from.

Depthwise-separable bottlenecks of Chen et al. 2018 (arXiv 1804.07573) and a global depthwise convolution instead of
pooling. All normalisations are trained, the last one too, weights start by He et al. 2015 (arXiv 1502.01852) with the
outputs' count, and what follows the bottlenecks is float32 whatever the trunk's precision.
"""

from mindspore import Tensor, float32, nn
from mindspore.common.initializer import HeNormal

from arcface_api.architectures import Block, architecture
from arcface_api.resource.spec import ModelSpec
from arcface_trainer.network.layers import BATCH_NORM, BatchNorm2d, Conv2d, PReLU

_GROUP_SIZE = 2
"""Channels in each group of the second convolution."""


def _he_normal() -> HeNormal:
    return HeNormal(mode="fan_out", nonlinearity="relu")


def _linear(cast: nn.Cell, inputs: int, outputs: int, kernel: int, **options: int) -> tuple[Conv2d, BatchNorm2d]:
    """Convolution and batch normalisation without activation."""
    convolution = Conv2d(cast, inputs, outputs, kernel, _he_normal(), **options)
    return convolution, BatchNorm2d(cast, outputs)


class Bottleneck(nn.Cell):
    """Expand, depthwise, project; residual where the shape stays."""

    def __init__(self, block: Block, cast: nn.Cell) -> None:
        super().__init__()
        inputs, hidden, outputs, stride = block
        self.body = nn.SequentialCell(
            *_linear(cast, inputs, hidden, 1),
            PReLU(cast, hidden),
            *_linear(cast, hidden, hidden, 3, stride=stride, group=hidden),
            PReLU(cast, hidden),
            *_linear(cast, hidden, outputs, 1),
        )
        self.is_residual = block.keeps_shape
        self.cast = cast

    def construct(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = self.body(x)
        return self.cast(x) + self.cast(y) if self.is_residual else y


class MobileFaceNet(nn.Cell):
    """Small network for faces."""

    def __init__(self, model: ModelSpec, cast: nn.Cell) -> None:
        super().__init__()
        stem, stride, blocks, last, size = architecture(model)
        self.trunk = nn.SequentialCell(
            *_linear(cast, 3, stem, 3, stride=stride),
            PReLU(cast, stem),
            *_linear(cast, stem, stem, 3, group=stem // _GROUP_SIZE),
            PReLU(cast, stem),
            *(Bottleneck(block, cast) for block in blocks),
        )
        self.cast = cast
        full = nn.Identity()
        self.tail = nn.SequentialCell(
            *_linear(full, blocks[-1].outputs, last, 1),
            PReLU(full, last),
            Conv2d(full, last, last, size, _he_normal(), group=last, pad_mode="valid", padding=0),
            BatchNorm2d(full, last),
        )
        self.dropout = nn.Dropout(p=model.dropout)
        self.embedding = nn.Dense(last, model.embedding_size, has_bias=False, weight_init=_he_normal())
        self.features = nn.BatchNorm1d(model.embedding_size, **BATCH_NORM)

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D) float32."""
        x = self.tail(self.cast(self.trunk(x)).astype(float32))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x))
