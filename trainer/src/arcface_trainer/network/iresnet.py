"""IResNet, the residual network of ArcFace (Deng et al. 2019, arXiv 1801.07698, section 3.1).

Pre-activated blocks BN-conv-BN-PReLU-conv-BN, a 3x3 stem without pooling, and the tail BN-dropout-FC-BN with the scale
of the last BN fixed to 1. FC and last BN are float32 whatever the trunk's precision.
"""

from mindspore import Tensor, float32, nn
from mindspore.common.initializer import Normal

from arcface_api.architectures import Block, architecture
from arcface_api.resource.spec import ModelSpec
from arcface_trainer.network.layers import BATCH_NORM, BatchNorm2d, Conv2d, PReLU

CONV_SIGMA = 0.1
"""Standard deviation of fresh convolution weights (InsightFace's iresnet)."""


def _conv(cast: nn.Cell, inputs: int, outputs: int, kernel: int, stride: int = 1) -> Conv2d:
    return Conv2d(cast, inputs, outputs, kernel, Normal(CONV_SIGMA), stride=stride)


class ResidualBlock(nn.Cell):
    """BN-conv-BN-PReLU-conv-BN beside an identity or a projection."""

    def __init__(self, block: Block, cast: nn.Cell) -> None:
        super().__init__()
        inputs, hidden, outputs, stride = block
        self.norm1 = BatchNorm2d(cast, inputs)
        self.conv1 = _conv(cast, inputs, hidden, 3)
        self.norm2 = BatchNorm2d(cast, hidden)
        self.activation = PReLU(cast, hidden)
        self.conv2 = _conv(cast, hidden, outputs, 3, stride)
        self.norm3 = BatchNorm2d(cast, outputs)
        self.has_projection = not block.keeps_shape
        if self.has_projection:
            self.projection = nn.SequentialCell(_conv(cast, inputs, outputs, 1, stride), BatchNorm2d(cast, outputs))
        self.cast = cast

    def construct(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = self.conv1(self.norm1(x))
        y = self.norm3(self.conv2(self.activation(self.norm2(y))))
        return self.cast(y) + self.cast(self.projection(x) if self.has_projection else x)


class IResNet(nn.Cell):
    """Improved residual network for faces."""

    def __init__(self, model: ModelSpec, cast: nn.Cell) -> None:
        super().__init__()
        stem, stride, blocks, last, size = architecture(model)
        self.stem = nn.SequentialCell(_conv(cast, 3, stem, 3, stride), BatchNorm2d(cast, stem), PReLU(cast, stem))
        self.stages = nn.SequentialCell([ResidualBlock(block, cast) for block in blocks])
        self.norm = BatchNorm2d(cast, last)
        self.cast = cast
        self.dropout = nn.Dropout(p=model.dropout)
        self.embedding = nn.Dense(last * size**2, model.embedding_size)
        self.features = nn.BatchNorm1d(model.embedding_size, **BATCH_NORM)
        # It stays 1: the loss normalises the length of the embedding anyway.
        self.features.gamma.requires_grad = False

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D) float32."""
        x = self.cast(self.norm(self.stages(self.stem(x))))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x.astype(float32)))
