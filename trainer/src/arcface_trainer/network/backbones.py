"""Networks from an image to its embedding: input (B, 3, 112, 112), output (B, D) float32, not normalised."""

import mindspore
from mindspore import Tensor, nn

from arcface_api.resource.spec import ModelSpec
from arcface_faces.face_input import PIXEL_MEAN, PIXEL_SCALE
from arcface_trainer.network.iresnet import IResNet
from arcface_trainer.network.mobilefacenet import MobileFaceNet

STATISTICS_SUFFIXES = ("moving_mean", "moving_variance")
"""Ends of the names of batch normalisation's running statistics."""


def build_backbone(model: ModelSpec) -> nn.Cell:
    """Network of a job with fresh weights; seed MindSpore before for the same weights on every rank."""
    return MobileFaceNet(model) if model.backbone == "mobilefacenet" else IResNet(model)


def preprocessed(images: Tensor) -> Tensor:
    """(x - 127.5) / 127.5 in float32: the normalisation that checkpoints are written with."""
    return (images.astype(mindspore.float32) - PIXEL_MEAN) / PIXEL_SCALE
