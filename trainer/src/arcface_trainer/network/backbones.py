"""Networks from a normalised image to its embedding.

IResNet is the residual network of ArcFace (Deng et al. 2019, arXiv 1801.07698, section 3.1): pre-activated blocks
BN-conv-BN-PReLU-conv-BN, a 3x3 stem without pooling, and the tail BN-dropout-FC-BN with the scale of the last BN fixed
to 1. Input (B, 3, 112, 112) float32 in [-1, 1], output (B, D) float32, not normalised.
"""

from collections.abc import Callable

import mindspore
from mindspore import Tensor, nn
from mindspore.common.initializer import Normal

from arcface_api.resource.spec import Backbone, ModelSpec
from arcface_faces.images.face_input import IMAGE_SIZE, PIXEL_MEAN, PIXEL_SCALE
from arcface_trainer.network.mobilefacenet import MobileFaceNet

BASE_CHANNELS = (64, 64, 128, 256, 512)
"""Channels of the stem and of the four stages at width 1."""
CONV_SIGMA = 0.1
"""Standard deviation of fresh convolution weights (InsightFace's iresnet)."""
BATCH_NORM = {"eps": 1e-5, "momentum": 0.9}
"""MindSpore's momentum is the share of the old statistics."""


def scaled_channels(width: float) -> list[int]:
    """Channels of stem and stages at a width multiplier, at least 4 each."""
    return [max(4, round(channels * width)) for channels in BASE_CHANNELS]


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
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

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs, **BATCH_NORM)
        self.conv1 = conv(inputs, outputs, 3)
        self.norm2 = nn.BatchNorm2d(outputs, **BATCH_NORM)
        self.activation = nn.PReLU(outputs)
        self.conv2 = conv(outputs, outputs, 3, stride)
        self.norm3 = nn.BatchNorm2d(outputs, **BATCH_NORM)
        self.has_projection = stride != 1 or inputs != outputs
        if self.has_projection:
            self.projection = nn.SequentialCell(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs, **BATCH_NORM))

    def construct(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = self.conv1(self.norm1(x))
        y = self.norm3(self.conv2(self.activation(self.norm2(y))))
        return y + (self.projection(x) if self.has_projection else x)


class IResNet(nn.Cell):
    """Improved residual network for faces."""

    def __init__(self, layers: tuple[int, int, int, int], model: ModelSpec) -> None:
        super().__init__()
        channels = scaled_channels(model.width)
        self.stem = nn.SequentialCell(
            conv(3, channels[0], 3, model.stem_stride),
            nn.BatchNorm2d(channels[0], **BATCH_NORM),
            nn.PReLU(channels[0]),
        )
        blocks = []
        for depth, inputs, outputs in zip(layers, channels, channels[1:], strict=False):
            blocks.append(ResidualBlock(inputs, outputs, stride=2))
            blocks += [ResidualBlock(outputs, outputs, stride=1) for _ in range(depth - 1)]
        self.stages = nn.SequentialCell(blocks)
        self.norm = nn.BatchNorm2d(channels[-1], **BATCH_NORM)
        self.dropout = nn.Dropout(p=model.dropout)
        self.embedding = nn.Dense(channels[-1] * final_size(model.stem_stride) ** 2, model.embedding_size)
        self.features = embedding_norm(model.embedding_size)

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D)."""
        x = self.norm(self.stages(self.stem(x)))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x))


def final_size(stem_stride: int) -> int:
    """Side of the last feature map: five or four halvings of 112, rounded up."""
    size = -(-IMAGE_SIZE // stem_stride)
    for _ in range(4):
        size = -(-size // 2)
    return size


def embedding_norm(size: int) -> nn.BatchNorm1d:
    """Batch normalisation of the embedding; its scale stays 1 since the loss normalises the length anyway."""
    norm = nn.BatchNorm1d(size, **BATCH_NORM)
    norm.gamma.requires_grad = False
    return norm


def iresnet(*layers: int) -> Callable[[ModelSpec], nn.Cell]:
    """Constructor of an IResNet with these blocks per stage."""
    depth1, depth2, depth3, depth4 = layers
    return lambda model: IResNet((depth1, depth2, depth3, depth4), model)


BACKBONES: dict[Backbone, Callable[[ModelSpec], nn.Cell]] = {
    "iresnet18": iresnet(2, 2, 2, 2),
    "iresnet34": iresnet(3, 4, 6, 3),
    "iresnet50": iresnet(3, 4, 14, 3),
    "iresnet100": iresnet(3, 13, 30, 3),
    "iresnet200": iresnet(6, 26, 60, 6),
    "mobilefacenet": MobileFaceNet,
}


def build_backbone(model: ModelSpec) -> nn.Cell:
    """Network of a job with fresh weights; seed MindSpore before for the same weights on every rank."""
    return BACKBONES[model.backbone](model)


def preprocessed(images: Tensor) -> Tensor:
    """(x - 127.5) / 127.5 in float32: the normalisation that checkpoints are written with."""
    return (images.astype(mindspore.float32) - PIXEL_MEAN) / PIXEL_SCALE


def parameter_count(network: nn.Cell) -> int:
    """Parameters of a network, without the running statistics of its batch normalisations."""
    return sum(
        parameter.size for parameter in network.get_parameters() if not parameter.name.endswith(STATISTICS_SUFFIXES)
    )


STATISTICS_SUFFIXES = ("moving_mean", "moving_variance")
