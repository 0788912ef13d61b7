"""Backbones, their parameters as host arrays, and a trained one as a plain function from images to embeddings.

Input (B, 3, 112, 112), output (B, D) float32, not normalised.
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
from arcface_faces.embedding.batches import ConstantBatches
from arcface_faces.embedding.embedder import Network
from arcface_faces.images import PIXEL_MEAN, PIXEL_SCALE
from arcface_trainer.network.layers import BATCH_NORM, BatchNorm2d, Conv2d, PReLU

STATISTICS_SUFFIXES = ("moving_mean", "moving_variance")
"""Ends of the names of batch normalisation's running statistics."""
_CONV_SIGMA = 0.1
"""Standard deviation of fresh convolution weights (InsightFace's iresnet)."""
_GROUP_SIZE = 2
"""Channels in each group of the second convolution."""


def _conv(cast: nn.Cell, inputs: int, outputs: int, kernel: int, stride: int = 1) -> Conv2d:
    return Conv2d(cast, inputs, outputs, kernel, Normal(_CONV_SIGMA), stride=stride)


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
    """Residual network of ArcFace (Deng et al. 2019, arXiv 1801.07698, section 3.1).

    Pre-activated blocks BN-conv-BN-PReLU-conv-BN, a 3x3 stem without pooling, and the tail BN-dropout-FC-BN with the
    scale of the last BN fixed to 1. FC and last BN are float32 whatever the trunk's precision.
    """

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


def _he_normal() -> HeNormal:
    return HeNormal(mode="fan_out", nonlinearity="relu")


def _linear(cast: nn.Cell, inputs: int, outputs: int, kernel: int, **options: int) -> tuple[Conv2d, BatchNorm2d]:
    """Convolution and batch normalisation without activation."""
    convolution = Conv2d(cast, inputs, outputs, kernel, _he_normal(), **options)
    return convolution, BatchNorm2d(cast, outputs)


class Bottleneck(nn.Cell):
    """Expand, depthwise, project; residual where the shape stays."""

    def __init__(self, block: Block, cast: nn.Cell) -> None:
        super().__init__()
        inputs, hidden, outputs, stride = block
        self.body = nn.SequentialCell(
            *_linear(cast, inputs, hidden, 1),
            PReLU(cast, hidden),
            *_linear(cast, hidden, hidden, 3, stride=stride, group=hidden),
            PReLU(cast, hidden),
            *_linear(cast, hidden, outputs, 1),
        )
        self.is_residual = block.keeps_shape
        self.cast = cast

    def construct(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        y = self.body(x)
        return self.cast(x) + self.cast(y) if self.is_residual else y


class MobileFaceNet(nn.Cell):
    """MobileFaceNet as InsightFace trains it (arcface_torch/backbones/mobilefacenet.py): published figures are its.

    Depthwise-separable bottlenecks of Chen et al. 2018 (arXiv 1804.07573) and a global depthwise convolution instead of
    pooling. All normalisations are trained, the last one too, weights start by He et al. 2015 (arXiv 1502.01852) with
    the outputs' count, and what follows the bottlenecks is float32 whatever the trunk's precision.
    """

    def __init__(self, model: ModelSpec, cast: nn.Cell) -> None:
        super().__init__()
        stem, stride, blocks, last, size = architecture(model)
        self.trunk = nn.SequentialCell(
            *_linear(cast, 3, stem, 3, stride=stride),
            PReLU(cast, stem),
            *_linear(cast, stem, stem, 3, group=stem // _GROUP_SIZE),
            PReLU(cast, stem),
            *(Bottleneck(block, cast) for block in blocks),
        )
        self.cast = cast
        full = nn.Identity()
        self.tail = nn.SequentialCell(
            *_linear(full, blocks[-1].outputs, last, 1),
            PReLU(full, last),
            Conv2d(full, last, last, size, _he_normal(), group=last, pad_mode="valid", padding=0),
            BatchNorm2d(full, last),
        )
        self.dropout = nn.Dropout(p=model.dropout)
        self.embedding = nn.Dense(last, model.embedding_size, has_bias=False, weight_init=_he_normal())
        self.features = nn.BatchNorm1d(model.embedding_size, **BATCH_NORM)

    def construct(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) to (B, D) float32."""
        x = self.tail(self.cast(self.trunk(x)).astype(float32))
        x = self.dropout(x.reshape(x.shape[0], -1))
        return self.features(self.embedding(x))


def build_backbone(model: ModelSpec, cast: nn.Cell | None = None) -> nn.Cell:
    """Network of a job with fresh weights; seed MindSpore before for the same weights on every rank.

    Args:
        model: the job's.
        cast: what casts the trunk's tensors, see `trunk_cast`; None leaves all of it in float32.
    """
    kind = MobileFaceNet if model.backbone == "mobilefacenet" else IResNet
    return kind(model, nn.Identity() if cast is None else cast)


def preprocessed(images: Tensor) -> Tensor:
    """(x - 127.5) / 127.5 in float32: the normalisation that checkpoints are written with."""
    return (images.astype(float32) - PIXEL_MEAN) / PIXEL_SCALE


def named_parameters(network: nn.Cell) -> dict[str, Parameter]:
    """Parameters and running statistics of a network by their path within it."""
    return dict(network.parameters_and_names())


def running_statistics(network: nn.Cell) -> dict[str, Parameter]:
    """Running means and variances of the batch normalisations by their path within the network."""
    return {name: value for name, value in network.parameters_and_names() if name.endswith(STATISTICS_SUFFIXES)}


def host_arrays(parameters: dict[str, Parameter]) -> Tensors:
    """Copies of the parameters' values."""
    return {name: np.array(parameter.asnumpy(), np.float32) for name, parameter in parameters.items()}


def check_fit(parameters: dict[str, Parameter], arrays: dict[str, NDArray[np.float32]], source: str) -> None:
    """InvalidInput, naming `source`, where the names or shapes of arrays are not those of the parameters."""
    if differing := sorted(parameters.keys() ^ arrays.keys()):
        raise InvalidInput(f"{source}: tensor {differing[0]} does not fit the network: use the job's own checkpoint")
    for name, parameter in parameters.items():
        if parameter.shape != arrays[name].shape:
            raise InvalidInput(
                f"{source}: tensor {name} is {arrays[name].shape}, the network needs {parameter.shape}: "
                "use the job's own checkpoint"
            )


def assign(parameters: dict[str, Parameter], arrays: dict[str, NDArray[np.float32]], source: str) -> None:
    """Give parameters new values; InvalidInput, naming `source`, where names or shapes differ."""
    check_fit(parameters, arrays, source)
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
    """A backbone in inference mode; each new batch size compiles a graph, so that smaller ones are filled up."""
    set_context(mode=GRAPH_MODE)
    cell = _Embed(backbone)
    cell.set_train(mode=False)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(cell(Tensor(images)).asnumpy(), np.float32)

    return ConstantBatches(embed)
