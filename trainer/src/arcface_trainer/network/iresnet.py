"""IResNet, the residual network of ArcFace (Deng et al. 2019, arXiv 1801.07698, section 3.1).

Pre-activated blocks BN-conv-BN-PReLU-conv-BN, a 3x3 stem without pooling, and the tail BN-dropout-FC-BN with the scale
of the last BN fixed to 1.
"""

from mindspore import Tensor, nn
from mindspore.common.initializer import Normal

from arcface_api.architectures import Block, architecture
from arcface_api.resource.spec import ModelSpec
from arcface_trainer.network.layers import BATCH_NORM, embedding_norm

CONV_SIGMA = 0.1
"""Standard deviation of fresh convolution weights (InsightFace's iresnet)."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride,
        pad_mode="pad",
        padding=kernel // 2,
        has_bias=False,
        weight_init=Normal(CONV_SIGMA),
    )


class ResidualBlock(nn.Cell):
    """BN-conv-BN-PReLU-conv-BN beside an identity or a projection."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        inputs, hidden, outputs, stride = block
        self.norm1 = nn.BatchNorm2d(inputs, **BATCH_NORM)
        self.conv1 = _conv(inputs, hidden, 3)
        self.norm2 = nn.BatchNorm2d(hidden, **BATCH_NORM)
        self.activation = nn.PReLU(hidden)
        self.conv2 = _conv(hidden, outputs, 3, stride)
        self.norm3 = nn.BatchNorm2d(outputs, **BATCH_NORM)
        self.has_projection = not block.keeps_shape
        if self.has_projection:
            self.projection = nn.SequentialCell(
                _conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs, **BATCH_NORM)
            )

    def construct(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = self.conv1(self.norm1(x))
        y = self.norm3(self.conv2(self.activation(self.norm2(y))))
        return y + (self.projection(x) if self.has_projection else x)


class IResNet(nn.Cell):
    """Improved residual network for faces."""

    def __init__(self, model: ModelSpec) -> None:
        super().__init__()
        stem, stride, blocks, last, size = architecture(model)
        self.stem = nn.SequentialCell(_conv(3, stem, 3, stride), nn.BatchNorm2d(stem, **BATCH_NORM), nn.PReLU(stem))
        self.stages = nn.SequentialCell([ResidualBlock(block) for block in blocks])
        self.norm = nn.BatchNorm2d(last, **BATCH_NORM)
        self.dropout = nn.Dropout(p=model.dropout)
        self.embedding = nn.Dense(last * size**2, model.embedding_size)
        self.features = embedding_norm(model.embedding_size)

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D)."""
        x = self.norm(self.stages(self.stem(x)))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x))
