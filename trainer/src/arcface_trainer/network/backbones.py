"""Backbones, their parameters as host arrays, and a trained one as a plain function from images to embeddings.

Input (B, 3, 112, 112), output (B, D) float32, not normalised. IResNet is the residual network of ArcFace (Deng et al.
2019, arXiv 1801.07698, section 3.1): pre-activated blocks BN-conv-BN-PReLU-conv-BN, a 3x3 stem without pooling, and the
tail BN-dropout-FC-BN with the scale of the last BN fixed to 1. MobileFaceNet is the one that InsightFace's published
figures come from (arcface_torch/backbones/mobilefacenet.py): the bottlenecks of Chen et al. 2018 (arXiv 1804.07573) and
a global depthwise convolution instead of pooling; all its normalisations are trained, and its weights start by He et
al. 2015 (arXiv 1502.01852) with the count of outputs.
"""

from pathlib import Path

import numpy as np
from mindspore import GRAPH_MODE, Parameter, Tensor, float32, nn, set_context
from mindspore.common.initializer import HeNormal, Normal
from numpy.typing import NDArray

from arcface_api.architectures import Block, architecture
from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import ModelSpec
from arcface_faces.checkpoint import BACKBONE_FILE, CheckpointManifest, Tensors, read_file, read_manifest
from arcface_faces.embedding.embedder import Network
from arcface_faces.images import PIXEL_MEAN, PIXEL_SCALE

CONV_SIGMA = 0.1
"""Standard deviation of fresh convolution weights (InsightFace's iresnet)."""
BATCH_NORM = {"eps": 1e-5, "momentum": 0.9}
"""MindSpore's momentum is the share of the old statistics."""


def build_backbone(model: ModelSpec) -> nn.Cell:
    """Network of a job with fresh weights; seed MindSpore before for the same weights on every rank."""
    return MobileFaceNet(model) if model.backbone == "mobilefacenet" else IResNet(model)


def preprocessed(images: Tensor) -> Tensor:
    """(x - 127.5) / 127.5 in float32: the normalisation that checkpoints are written with."""
    return (images.astype(float32) - PIXEL_MEAN) / PIXEL_SCALE


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
        self.features = nn.BatchNorm1d(model.embedding_size, **BATCH_NORM)
        # It stays 1: the loss normalises the length of the embedding anyway.
        self.features.gamma.requires_grad = False

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D)."""
        x = self.norm(self.stages(self.stem(x)))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x))


_GROUP_SIZE = 2
"""Channels in each group of MobileFaceNet's second convolution."""


def _he_normal() -> HeNormal:
    return HeNormal(mode="fan_out", nonlinearity="relu")


def _conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1, group: int = 1) -> list[nn.Cell]:
    """Convolution and batch normalisation without activation."""
    padding = {"pad_mode": "pad", "padding": kernel // 2}
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride, group=group, has_bias=False, weight_init=_he_normal(), **padding
    )
    return [convolution, nn.BatchNorm2d(outputs, **BATCH_NORM)]


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
    """Small network for faces."""

    def __init__(self, model: ModelSpec) -> None:
        super().__init__()
        stem, stride, blocks, last, size = architecture(model)
        cells: list[nn.Cell] = [*_conv_block(3, stem, 3, stride), nn.PReLU(stem)]
        cells += [*_conv_block(stem, stem, 3, group=stem // _GROUP_SIZE), nn.PReLU(stem)]
        cells += [Bottleneck(block) for block in blocks]
        cells += [*_conv_block(blocks[-1].outputs, last, 1), nn.PReLU(last)]
        self.body = nn.SequentialCell(cells)
        self.global_depthwise = nn.SequentialCell(
            nn.Conv2d(last, last, size, pad_mode="valid", group=last, has_bias=False, weight_init=_he_normal()),
            nn.BatchNorm2d(last, **BATCH_NORM),
        )
        self.dropout = nn.Dropout(p=model.dropout)
        self.embedding = nn.Dense(last, model.embedding_size, has_bias=False, weight_init=_he_normal())
        self.features = nn.BatchNorm1d(model.embedding_size, **BATCH_NORM)

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D)."""
        x = self.global_depthwise(self.body(x))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x))


STATISTICS_SUFFIXES = ("moving_mean", "moving_variance")
"""Ends of the names of batch normalisation's running statistics."""


def named_parameters(network: nn.Cell) -> dict[str, Parameter]:
    """Parameters and running statistics of a network by their path within it."""
    return dict(network.parameters_and_names())


def host_arrays(parameters: dict[str, Parameter]) -> Tensors:
    """Copies of the parameters' values."""
    return {name: np.array(parameter.asnumpy(), np.float32) for name, parameter in parameters.items()}


def assign(parameters: dict[str, Parameter], arrays: dict[str, NDArray[np.float32]], source: str) -> None:
    """Give parameters new values; InvalidInput, naming `source`, where names or shapes differ."""
    if differing := sorted(parameters.keys() ^ arrays.keys()):
        raise InvalidInput(f"{source}: tensor {differing[0]} does not fit the network: use the job's own checkpoint")
    for name, parameter in parameters.items():
        if parameter.shape != arrays[name].shape:
            raise InvalidInput(
                f"{source}: tensor {name} is {arrays[name].shape}, the network needs {parameter.shape}: "
                "use the job's own checkpoint"
            )
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(arrays[name]))


class _Embed(nn.Cell):
    def __init__(self, backbone: nn.Cell) -> None:
        super().__init__()
        self.backbone = backbone

    def construct(self, images: Tensor) -> Tensor:
        return self.backbone(preprocessed(images))


def load_backbone(folder: Path) -> tuple[CheckpointManifest, nn.Cell]:
    """Manifest and backbone of a checkpoint; InvalidInput where the checkpoint is damaged."""
    manifest = read_manifest(folder)
    backbone = build_backbone(manifest.model)
    assign(named_parameters(backbone), read_file(folder, manifest, BACKBONE_FILE), str(folder))
    return manifest, backbone


def load_network(folder: Path) -> Network:
    """Network of a checkpoint; InvalidInput where the checkpoint is damaged."""
    return as_function(load_backbone(folder)[1])


def as_function(backbone: nn.Cell) -> Network:
    """A backbone in inference mode; each new batch size compiles a graph, so callers keep it constant."""
    set_context(mode=GRAPH_MODE)
    cell = _Embed(backbone)
    cell.set_train(mode=False)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(cell(Tensor(images)).asnumpy(), np.float32)

    return embed
