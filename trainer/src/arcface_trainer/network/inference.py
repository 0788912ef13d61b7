"""A trained network as a plain function from images to embeddings."""

from pathlib import Path

import mindspore
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from arcface_faces.checkpoint import BACKBONE_FILE, CheckpointManifest, read_file, read_manifest
from arcface_faces.embedding.embedder import Network
from arcface_trainer.network.backbones import build_backbone, preprocessed
from arcface_trainer.network.parameters import assign, named_parameters


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
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    cell = _Embed(backbone)
    cell.set_train(mode=False)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(cell(Tensor(images)).asnumpy(), np.float32)

    return embed
