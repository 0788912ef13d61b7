"""The backbones' layers: one table, which networks are built from and their sizes are counted by.

IResNet as in ArcFace (Deng et al. 2019, arXiv 1801.07698, section 3.1). MobileFaceNet as InsightFace's published
figures were made with it (arcface_torch/backbones/mobilefacenet.py, `get_mbf`: blocks 1-4-6-2 at scale 2): the
bottlenecks of Chen et al. 2018 (arXiv 1804.07573, table 1) with twice as many channels between and no more within, so
that expansions are 1 and 2 instead of 2 and 4, and the second convolution in groups of two channels. Both have channels
scaled by the job's width.
"""

from typing import NamedTuple

from pydantic.alias_generators import to_camel

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
_MOBILE_STEM_PAIRS = 64
"""Pairs of channels after the first convolution: each is a group of the second one."""
_MOBILE_GROUPS = (
    (128, 128, 2, 1),
    (128, 128, 1, 4),
    (256, 256, 2, 1),
    (256, 256, 1, 6),
    (512, 256, 2, 1),
    (256, 256, 1, 2),
)
"""Channels within and after the bottlenecks of a group, their stride and number."""
_MOBILE_LAST_CHANNELS = 512
_SHAPING = ("backbone", "width", "stem_stride", "embedding_size")
"""Fields of the model that its tensors' shapes follow from."""


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


def misfit(wanted: ModelSpec, found: ModelSpec) -> str | None:
    """The first field, with both values, for which a network does not take another one's weights; None if it does."""
    for name in _SHAPING:
        theirs, own = getattr(found, name), getattr(wanted, name)
        if theirs != own:
            return f"model.{to_camel(name)} is {own}, the checkpoint's is {theirs}"
    return None


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
    stem = inputs = 2 * _scaled(_MOBILE_STEM_PAIRS, model.width)
    blocks: list[Block] = []
    for hidden, channels, stride, repetitions in _MOBILE_GROUPS:
        outputs = _scaled(channels, model.width)
        for _ in range(repetitions):
            blocks.append(Block(inputs, _scaled(hidden, model.width), outputs, stride))
            inputs = outputs
    return _complete(stem, 2, blocks, _scaled(_MOBILE_LAST_CHANNELS, model.width))


def _complete(stem: int, stem_stride: int, blocks: list[Block], last: int) -> Architecture:
    size = halved(IMAGE_SIZE, stem_stride)
    for block in blocks:
        size = halved(size, block.stride)
    return Architecture(stem, stem_stride, tuple(blocks), last, size)


def _scaled(channels: int, width: float) -> int:
    return max(FEWEST_CHANNELS, round(channels * width))
