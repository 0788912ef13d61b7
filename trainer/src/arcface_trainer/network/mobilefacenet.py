"""MobileFaceNet (Chen et al. 2018, arXiv 1804.07573, table 1) for 112x112 images."""

from mindspore import Tensor, nn

from arcface_api.architectures import Block, architecture
from arcface_api.resource.spec import ModelSpec
from arcface_trainer.network.layers import BATCH_NORM, embedding_norm


def _conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1, group: int = 1) -> list[nn.Cell]:
    """Convolution and batch normalisation without activation."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, pad_mode="pad", padding=kernel // 2, group=group, has_bias=False),
        nn.BatchNorm2d(outputs, **BATCH_NORM),
    ]


class Bottleneck(nn.Cell):
    """Expand, depthwise, project; residual where the shape stays."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        inputs, hidden, outputs, stride = block
        self.body = nn.SequentialCell(
            *_conv_block(inputs, hidden, 1),
            nn.PReLU(hidden),
            *_conv_block(hidden, hidden, 3, stride, group=hidden),
            nn.PReLU(hidden),
            *_conv_block(hidden, outputs, 1),
        )
        self.is_residual = block.keeps_shape

    def construct(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = self.body(x)
        return x + y if self.is_residual else y


class MobileFaceNet(nn.Cell):
    """Depthwise-separable network with a global depthwise convolution instead of pooling."""

    def __init__(self, model: ModelSpec) -> None:
        super().__init__()
        stem, stride, blocks, last, size = architecture(model)
        cells: list[nn.Cell] = [*_conv_block(3, stem, 3, stride), nn.PReLU(stem)]
        cells += [*_conv_block(stem, stem, 3, group=stem), nn.PReLU(stem)]
        cells += [Bottleneck(block) for block in blocks]
        cells += [*_conv_block(blocks[-1].outputs, last, 1), nn.PReLU(last)]
        self.body = nn.SequentialCell(cells)
        self.global_depthwise = nn.SequentialCell(
            nn.Conv2d(last, last, size, pad_mode="valid", group=last, has_bias=False),
            nn.BatchNorm2d(last, **BATCH_NORM),
        )
        self.dropout = nn.Dropout(p=model.dropout)
        self.embedding = nn.Dense(last, model.embedding_size, has_bias=False)
        self.features = embedding_norm(model.embedding_size)

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D)."""
        x = self.global_depthwise(self.body(x))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x))
