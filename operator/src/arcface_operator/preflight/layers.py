"""The layers of a network, counted from the table that the trainer builds its networks from.

What a layer keeps: its trainable parameters, the running statistics of batch normalisation, and the elements of its
output, which the backward pass needs. The gamma of an IResNet's last normalisation is counted although it stays 1.
"""

from collections.abc import Iterator
from typing import NamedTuple

from arcface_api.architectures import IMAGE_SIZE, Architecture, Block, architecture, halved
from arcface_api.resource.spec import ModelSpec

FLOAT32 = 4
"""Bytes of a number."""


class Layer(NamedTuple):
    """What one layer keeps, in numbers of elements; `outputs` is for one image."""

    parameters: int
    statistics: int
    outputs: int


def backbone_layers(model: ModelSpec) -> list[Layer]:
    """All layers of a job's network."""
    found = architecture(model)
    count = _mobilefacenet if model.backbone == "mobilefacenet" else _iresnet
    return [*count(found, model.embedding_size), _norm(model.embedding_size, 1)]


class NetworkSize(NamedTuple):
    """What all layers keep, in numbers of elements; `outputs` is for one image."""

    parameters: int
    trainable: int
    """Parameters that have a gradient: all but the scale of an IResNet's last normalisation, which stays 1."""
    statistics: int
    outputs: int


def network_size(model: ModelSpec) -> NetworkSize:
    """Size of a job's network."""
    layers = backbone_layers(model)
    parameters, statistics, outputs = (sum(numbers) for numbers in zip(*layers, strict=True))
    fixed = 0 if model.backbone == "mobilefacenet" else model.embedding_size
    return NetworkSize(parameters, parameters - fixed, statistics, outputs)


def _iresnet(found: Architecture, embedding_size: int) -> Iterator[Layer]:
    size = halved(IMAGE_SIZE, found.stem_stride)
    yield from (_conv(3, found.stem, 3, size), _norm(found.stem, size), _prelu(found.stem, size))
    for block in found.blocks:
        yield from _residual_block(block, size)
        size = halved(size, block.stride)
    yield _norm(found.last, size)
    inputs = found.last * size**2
    yield Layer(inputs * embedding_size + embedding_size, 0, embedding_size)


def _residual_block(block: Block, size: int) -> Iterator[Layer]:
    """BN-conv-BN-PReLU-conv-BN beside an identity or a projection, and their sum."""
    inputs, hidden, outputs, stride = block
    after = halved(size, stride)
    yield from (_norm(inputs, size), _conv(inputs, hidden, 3, size), _norm(hidden, size), _prelu(hidden, size))
    yield from (_conv(hidden, outputs, 3, after), _norm(outputs, after))
    if not block.keeps_shape:
        yield from (_conv(inputs, outputs, 1, after), _norm(outputs, after))
    yield Layer(0, 0, outputs * after**2)


def _mobilefacenet(found: Architecture, embedding_size: int) -> Iterator[Layer]:
    """Depthwise-separable convolutions and a global depthwise one."""
    stem, last, size = found.stem, found.last, halved(IMAGE_SIZE, found.stem_stride)
    yield from (_conv(3, stem, 3, size), _norm(stem, size), _prelu(stem, size))
    yield from (_grouped(stem, 2, 3, size), _norm(stem, size), _prelu(stem, size))
    for block in found.blocks:
        yield from _bottleneck(block, size)
        size = halved(size, block.stride)
    yield from (_conv(found.blocks[-1].outputs, last, 1, size), _norm(last, size), _prelu(last, size))
    yield from (_grouped(last, 1, size, 1), _norm(last, 1))
    yield Layer(last * embedding_size, 0, embedding_size)


def _bottleneck(block: Block, size: int) -> Iterator[Layer]:
    """Expand, depthwise, project; and the sum where the shape stays."""
    inputs, hidden, outputs, stride = block
    after = halved(size, stride)
    yield from (_conv(inputs, hidden, 1, size), _norm(hidden, size), _prelu(hidden, size))
    yield from (_grouped(hidden, 1, 3, after), _norm(hidden, after), _prelu(hidden, after))
    yield from (_conv(hidden, outputs, 1, after), _norm(outputs, after))
    if block.keeps_shape:
        yield Layer(0, 0, outputs * after**2)


def _conv(inputs: int, outputs: int, kernel: int, size: int) -> Layer:
    """Convolution without bias; `size` is its output's."""
    return Layer(inputs * outputs * kernel**2, 0, outputs * size**2)


def _grouped(channels: int, group_size: int, kernel: int, size: int) -> Layer:
    """Convolution within groups of so many channels; depthwise where that is one."""
    return Layer(channels * group_size * kernel**2, 0, channels * size**2)


def _norm(channels: int, size: int) -> Layer:
    """Batch normalisation."""
    return Layer(2 * channels, 2 * channels, channels * size**2)


def _prelu(channels: int, size: int) -> Layer:
    """PReLU with a slope for each channel."""
    return Layer(channels, 0, channels * size**2)
