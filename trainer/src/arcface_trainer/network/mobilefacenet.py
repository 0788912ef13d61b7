"""MobileFaceNet (Chen et al. 2018, arXiv 1804.07573, table 1) for 112x112 images."""

from mindspore import Tensor, nn

from arcface_api.resource.spec import ModelSpec

BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, repetitions and first stride of each group (table 1)."""
LAST_CHANNELS = 512
BATCH_NORM = {"eps": 1e-5, "momentum": 0.9}


def _conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1, group: int = 1) -> list[nn.Cell]:
    """Convolution and batch normalisation without activation."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, pad_mode="pad", padding=kernel // 2, group=group, has_bias=False),
        nn.BatchNorm2d(outputs, **BATCH_NORM),
    ]


class Bottleneck(nn.Cell):
    """Expand, depthwise, project; residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.body = nn.SequentialCell(
            *_conv_block(inputs, hidden, 1),
            nn.PReLU(hidden),
            *_conv_block(hidden, hidden, 3, stride, group=hidden),
            nn.PReLU(hidden),
            *_conv_block(hidden, outputs, 1),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def construct(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = self.body(x)
        return x + y if self.is_residual else y


class MobileFaceNet(nn.Cell):
    """Depthwise-separable network with a global depthwise convolution instead of pooling."""

    def __init__(self, model: ModelSpec) -> None:
        super().__init__()
        stem, last = _scaled(64, model.width), _scaled(LAST_CHANNELS, model.width)
        cells: list[nn.Cell] = [*_conv_block(3, stem, 3, 2), nn.PReLU(stem)]
        cells += [*_conv_block(stem, stem, 3, group=stem), nn.PReLU(stem)]
        inputs = stem
        for expansion, base, repetitions, stride in BOTTLENECKS:
            outputs = _scaled(base, model.width)
            for index in range(repetitions):
                cells.append(Bottleneck(inputs, outputs, expansion, stride if index == 0 else 1))
                inputs = outputs
        cells += [*_conv_block(inputs, last, 1), nn.PReLU(last)]
        self.body = nn.SequentialCell(cells)
        self.global_depthwise = nn.SequentialCell(
            nn.Conv2d(last, last, 7, pad_mode="valid", group=last, has_bias=False),
            nn.BatchNorm2d(last, **BATCH_NORM),
        )
        self.dropout = nn.Dropout(p=model.dropout)
        self.embedding = nn.Dense(last, model.embedding_size, has_bias=False)
        self.features = nn.BatchNorm1d(model.embedding_size, **BATCH_NORM)
        self.features.gamma.requires_grad = False

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D)."""
        x = self.global_depthwise(self.body(x))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x))


def _scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier, at least 4."""
    return max(4, round(channels * width))
