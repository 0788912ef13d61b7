"""The head on a chip whose matrix unit has float16 alone, at the numbers of classes of real sets, against float64."""

from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor, float16, float32, nn, ops

from arcface_api.resource.spec import LossSpec
from arcface_faces.checkpoint import ClassRange
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier

IMAGES, MARGIN = 4, 0.5
SMALLEST_HALF = 2.0**-24


class Sizes(NamedTuple):
    """What decides how small the derivatives are: logits spread as at scale 64 with 512 numbers, scale / images too."""

    classes: int
    embedding: int
    scale: float
    total_batch: int


MS1MV2 = Sizes(85_742, embedding=32, scale=16.0, total_batch=256)
SAMPLED_WEBFACE42M = Sizes(411_981, embedding=16, scale=11.3, total_batch=723)


class HalfProduct(nn.Cell):
    """As a 910A multiplies float32: operands in float16, sums in float32, the result in float16 again or not."""

    def __init__(self, *, rounds_result, **transposed):
        super().__init__()
        self.product = ops.MatMul(**transposed)
        self.rounds_result = rounds_result

    def construct(self, a, b):
        product = self.product(a.astype(float16).astype(float32), b.astype(float16).astype(float32))
        return product.astype(float16).astype(float32) if self.rounds_result else product


def on_a_910a(sizes, centers, *, rounds_result):
    loss, classes = LossSpec(scale=sizes.scale, margin=MARGIN), ClassRange(0, sizes.classes)
    head = Classifier(loss, classes, centers, Collectives(1, 0), sizes.total_batch)
    head.times = HalfProduct(rounds_result=rounds_result)
    head.times_transposed = HalfProduct(rounds_result=rounds_result, transpose_b=True)
    head.transposed_times = HalfProduct(rounds_result=rounds_result, transpose_a=True)
    return head


def drawn(sizes, cosine):
    """Embeddings and centres in directions of no order, but for the angle of images with their own classes."""
    random = np.random.default_rng(3)
    centers = random.standard_normal((sizes.classes, sizes.embedding), np.float32)
    labels = random.choice(sizes.classes, IMAGES, replace=False).astype(np.int32)
    own = centers[labels] / np.linalg.norm(centers[labels], axis=1, keepdims=True)
    across = random.standard_normal(own.shape)
    across -= (across * own).sum(axis=1, keepdims=True) * own
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return (20 * (cosine * own + np.sqrt(1 - cosine**2) * across)).astype(np.float32), centers, labels


def by_float64(sizes, embeddings, centers, labels):
    """ArcFace's derivatives as its paper has them, through softmax and angle, every number in float64."""
    rows = np.arange(IMAGES)
    lengths, radii = (np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (embeddings, centers))
    unit, directions = embeddings / lengths, centers / radii
    probabilities = unit @ directions.T
    angles = np.arccos(probabilities[rows, labels])
    probabilities[rows, labels] = np.cos(angles + MARGIN)
    probabilities *= sizes.scale
    probabilities = np.exp(probabilities - probabilities.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    probabilities[rows, labels] -= 1
    probabilities[rows, labels] *= np.sin(angles + MARGIN) / np.sin(angles)
    probabilities *= sizes.scale / sizes.total_batch
    by_unit, by_direction = probabilities @ directions, probabilities.T @ unit
    by_embedding = (by_unit - unit * (by_unit * unit).sum(axis=1, keepdims=True)) / lengths
    by_center = (by_direction - directions * (by_direction * directions).sum(axis=1, keepdims=True)) / radii
    return by_embedding, by_center, np.median(np.abs(probabilities))


def relative_error(measured, exact):
    return np.linalg.norm(measured - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("sizes", "cosine", "rounds_result"),
    [
        pytest.param(MS1MV2, 0.0, False, id="MS1MV2, first steps, sums as they are"),
        pytest.param(MS1MV2, 0.0, True, id="MS1MV2, first steps"),
        pytest.param(MS1MV2, 0.95, True, id="MS1MV2, images that are recognised"),
        pytest.param(SAMPLED_WEBFACE42M, 0.0, True, id="a fifth of WebFace42M, first steps"),
    ],
)
def test_gradients_are_those_of_float64(sizes, cosine, rounds_result):
    """Of the centres by themselves, too, of which no image of the batch is: they get what is smallest."""
    embeddings, centers, labels = drawn(sizes, cosine)
    head = on_a_910a(sizes, centers, rounds_result=rounds_result)
    _, d_embeddings, d_centers = (each.asnumpy() for each in head(Tensor(embeddings), Tensor(labels)))
    by_embedding, by_center, median = by_float64(sizes, embeddings, centers, labels)
    assert median < SMALLEST_HALF
    assert relative_error(d_embeddings, by_embedding) < 2e-3
    assert relative_error(d_centers[labels], by_center[labels]) < 2e-3
    d_centers[labels] = by_center[labels] = 0
    assert relative_error(d_centers, by_center) < 5e-3
    errors_C = np.linalg.norm(d_centers - by_center, axis=1) / np.maximum(np.linalg.norm(by_center, axis=1), 1e-30)
    assert np.median(errors_C) < 5e-3
