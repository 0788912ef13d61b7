"""Backbones, their parameters as host arrays, and a trained one as a plain function from images to embeddings.

Input (B, 3, 112, 112), output (B, D) float32, not normalised.
"""

from pathlib import Path

import numpy as np
from mindspore import GRAPH_MODE, Parameter, Tensor, float32, nn, set_context
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import ModelSpec
from arcface_faces.checkpoint import BACKBONE_FILE, CheckpointManifest, Tensors, read_file, read_manifest
from arcface_faces.embedding.embedder import Network
from arcface_faces.images import PIXEL_MEAN, PIXEL_SCALE
from arcface_trainer.network.iresnet import IResNet
from arcface_trainer.network.mobilefacenet import MobileFaceNet


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


STATISTICS_SUFFIXES = ("moving_mean", "moving_variance")
"""Ends of the names of batch normalisation's running statistics."""


def named_parameters(network: nn.Cell) -> dict[str, Parameter]:
    """Parameters and running statistics of a network by their path within it."""
    return dict(network.parameters_and_names())


def running_statistics(network: nn.Cell) -> list[Parameter]:
    """Running means and variances of the batch normalisations."""
    return [value for name, value in network.parameters_and_names() if name.endswith(STATISTICS_SUFFIXES)]


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
    """A backbone in inference mode; each new batch size compiles a graph, so callers keep it constant."""
    set_context(mode=GRAPH_MODE)
    cell = _Embed(backbone)
    cell.set_train(mode=False)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(cell(Tensor(images)).asnumpy(), np.float32)

    return embed
