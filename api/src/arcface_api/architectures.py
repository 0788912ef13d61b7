"""The backbones' layers: one table, which networks are built from and their sizes are counted by.

IResNet as in ArcFace (Deng et al. 2019, arXiv 1801.07698, section 3.1), MobileFaceNet as in Chen et al. 2018 (arXiv
1804.07573, table 1), both with channels scaled by the job's width.
"""

from typing import NamedTuple

from arcface_api.resource.spec import Backbone, ModelSpec

IMAGE_SIZE = 112
"""Height and width of the input in pixels."""
FEWEST_CHANNELS = 4
_STEM_CHANNELS = 64
_STAGE_CHANNELS = (64, 128, 256, 512)
_STAGE_DEPTHS: dict[Backbone, tuple[int, int, int, int]] = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}
_MOBILE_CHANNELS = 64
_MOBILE_GROUPS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, repetitions and first stride of each group (table 1)."""
_MOBILE_LAST_CHANNELS = 512


class Block(NamedTuple):
    """A residual block or a bottleneck: what its layers are made from."""

    inputs: int
    """Channels before it."""
    hidden: int
    """Channels within it."""
    outputs: int
    """Channels after it."""
    stride: int

    @property
    def keeps_shape(self) -> bool:
        """Whether input and output can be added as they are."""
        return self.stride == 1 and self.inputs == self.outputs


class Architecture(NamedTuple):
    """A backbone of a job."""

    stem: int
    """Channels after the first convolution."""
    stem_stride: int
    blocks: tuple[Block, ...]
    last: int
    """Channels of the last feature map."""
    final_size: int
    """Side of the last feature map."""


def architecture(model: ModelSpec) -> Architecture:
    """The layers of a job's backbone."""
    return _mobilefacenet(model) if model.backbone == "mobilefacenet" else _iresnet(model)


def halved(size: int, stride: int) -> int:
    """Side of a map after a padded convolution of this stride."""
    return -(-size // stride)


def _iresnet(model: ModelSpec) -> Architecture:
    stem = inputs = _scaled(_STEM_CHANNELS, model.width)
    blocks: list[Block] = []
    for depth, channels in zip(_STAGE_DEPTHS[model.backbone], _STAGE_CHANNELS, strict=True):
        outputs = _scaled(channels, model.width)
        for index in range(depth):
            blocks.append(Block(inputs, outputs, outputs, stride=2 if index == 0 else 1))
            inputs = outputs
    return _complete(stem, model.stem_stride, blocks, inputs)


def _mobilefacenet(model: ModelSpec) -> Architecture:
    stem = inputs = _scaled(_MOBILE_CHANNELS, model.width)
    blocks: list[Block] = []
    for expansion, channels, repetitions, first_stride in _MOBILE_GROUPS:
        outputs = _scaled(channels, model.width)
        for index in range(repetitions):
            blocks.append(Block(inputs, inputs * expansion, outputs, first_stride if index == 0 else 1))
            inputs = outputs
    return _complete(stem, 2, blocks, _scaled(_MOBILE_LAST_CHANNELS, model.width))


def _complete(stem: int, stem_stride: int, blocks: list[Block], last: int) -> Architecture:
    size = halved(IMAGE_SIZE, stem_stride)
    for block in blocks:
        size = halved(size, block.stride)
    return Architecture(stem, stem_stride, tuple(blocks), last, size)


def _scaled(channels: int, width: float) -> int:
    return max(FEWEST_CHANNELS, round(channels * width))
