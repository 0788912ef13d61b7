"""Sizes of the backbones' layers, from the same tables as the trainer's networks, without MindSpore.

What a layer keeps: its trainable parameters, the running statistics of batch normalisation, and the elements of its
output, which the backward pass needs. The gamma of the embedding's normalisation is counted although it stays 1.
"""

from collections.abc import Iterator
from typing import NamedTuple

from arcface_api.resource.spec import ModelSpec

IMAGE_SIZE = 112
IRESNET_CHANNELS = (64, 64, 128, 256, 512)
"""Stem and stages at width 1."""
IRESNET_BLOCKS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""MobileFaceNet's groups: expansion, channels, repetitions, first stride."""


class Layer(NamedTuple):
    """What one layer keeps, in numbers of elements; `outputs` is for one image."""

    parameters: int
    statistics: int
    outputs: int


def backbone_layers(model: ModelSpec) -> list[Layer]:
    """All layers of a job's network."""
    return list(mobilefacenet(model) if model.backbone == "mobilefacenet" else iresnet(model))


def iresnet(model: ModelSpec) -> Iterator[Layer]:
    """Stem, four stages that halve the size, and the tail."""
    stem, *stages = [scaled(channels, model.width) for channels in IRESNET_CHANNELS]
    size = halved(IMAGE_SIZE, model.stem_stride)
    yield from (conv(3, stem, 3, size), norm(stem, size), prelu(stem, size))
    inputs = stem
    for depth, outputs in zip(IRESNET_BLOCKS[model.backbone], stages, strict=True):
        for index in range(depth):
            yield from residual_block(inputs, outputs, size, 2 if index == 0 else 1)
            size, inputs = halved(size, 2 if index == 0 else 1), outputs
    yield norm(inputs, size)
    yield dense(inputs * size**2, model.embedding_size)
    yield norm(model.embedding_size, 1)


def residual_block(inputs: int, outputs: int, size: int, stride: int) -> Iterator[Layer]:
    """BN-conv-BN-PReLU-conv-BN beside an identity or a projection, and their sum."""
    after = halved(size, stride)
    yield from (norm(inputs, size), conv(inputs, outputs, 3, size), norm(outputs, size), prelu(outputs, size))
    yield from (conv(outputs, outputs, 3, after), norm(outputs, after))
    if stride != 1 or inputs != outputs:
        yield from (conv(inputs, outputs, 1, after), norm(outputs, after))
    yield Layer(0, 0, outputs * after**2)


def mobilefacenet(model: ModelSpec) -> Iterator[Layer]:
    """Depthwise-separable convolutions and a global depthwise one."""
    inputs, last = scaled(64, model.width), scaled(512, model.width)
    size = halved(IMAGE_SIZE, 2)
    yield from (conv(3, inputs, 3, size), norm(inputs, size), prelu(inputs, size))
    yield from (depthwise(inputs, 3, size), norm(inputs, size), prelu(inputs, size))
    for expansion, base, repetitions, first_stride in BOTTLENECKS:
        outputs = scaled(base, model.width)
        for index in range(repetitions):
            stride = first_stride if index == 0 else 1
            yield from bottleneck(inputs, outputs, expansion, size, stride)
            size, inputs = halved(size, stride), outputs
    yield from (conv(inputs, last, 1, size), norm(last, size), prelu(last, size))
    yield from (depthwise(last, 7, 1), norm(last, 1))
    yield Layer(last * model.embedding_size, 0, model.embedding_size)
    yield norm(model.embedding_size, 1)


def bottleneck(inputs: int, outputs: int, expansion: int, size: int, stride: int) -> Iterator[Layer]:
    """Expand, depthwise, project; and the sum where the shape stays."""
    hidden, after = inputs * expansion, halved(size, stride)
    yield from (conv(inputs, hidden, 1, size), norm(hidden, size), prelu(hidden, size))
    yield from (depthwise(hidden, 3, after), norm(hidden, after), prelu(hidden, after))
    yield from (conv(hidden, outputs, 1, after), norm(outputs, after))
    if stride == 1 and inputs == outputs:
        yield Layer(0, 0, outputs * after**2)


def conv(inputs: int, outputs: int, kernel: int, size: int) -> Layer:
    """Convolution without bias; `size` is its output's."""
    return Layer(inputs * outputs * kernel**2, 0, outputs * size**2)


def depthwise(channels: int, kernel: int, size: int) -> Layer:
    """Convolution of each channel with itself."""
    return Layer(channels * kernel**2, 0, channels * size**2)


def norm(channels: int, size: int) -> Layer:
    """Batch normalisation."""
    return Layer(2 * channels, 2 * channels, channels * size**2)


def prelu(channels: int, size: int) -> Layer:
    """PReLU with a slope for each channel."""
    return Layer(channels, 0, channels * size**2)


def dense(inputs: int, outputs: int) -> Layer:
    """Fully connected layer with bias."""
    return Layer(inputs * outputs + outputs, 0, outputs)


def scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier, at least 4."""
    return max(4, round(channels * width))


def halved(size: int, stride: int) -> int:
    """Side of a map after a padded convolution of this stride."""
    return -(-size // stride)
