"""Class centres from images: the mean direction of the embeddings that a trained network gives them.

The weights of a classifier on top of a network that knows such images already are imprinted by them (Qi et al. 2018,
arXiv 1712.07136, section 3.2). Each rank embeds images of its own classes alone: nothing crosses ranks, all have the
same work but for a class, and a centre does not depend on how many there are.

Tensor suffixes: N images, C classes of this rank, D embedding size.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.checkpoint import ClassRange
from arcface_faces.datasets.dataset import FaceDataset
from arcface_faces.embedding.embedder import Network, embed
from arcface_faces.images import IMAGE_SIZE, Image, decode
from arcface_trainer.head.classifier import CENTER_SIGMA, MIN_NORM

MOST_IMAGES = 5
"""Of a class. More would bring a mean little nearer to that of all, and each costs two forward passes."""
IMAGES_AT_ONCE = 8192
"""That are embedded before they are added up: 32 MiB of two views each at 512 numbers."""


def class_means(
    faces: FaceDataset,
    classes: ClassRange,
    network: Network,
    batch_size: int,
    fresh_CD: NDArray[np.float32],
    *,
    most_images: int = MOST_IMAGES,
) -> NDArray[np.float32]:
    """Centres (C, D) of a block of classes, as long as fresh ones are on average: a learning rate does alike to both.

    Args:
        faces: the images; those that cannot be decoded do not count.
        classes: the block.
        network: from images to embeddings.
        batch_size: images that it takes at once.
        fresh_CD: centres of classes without any image that counts.
        most_images: that are looked at of a class, evenly spread over all that it has.

    Raises:
        InvalidInput: where the network gives no finite numbers.
        ArcFaceError: where an image cannot be read now but may be later.
    """
    chosen_N = _chosen_images(faces.labels, classes, most_images)
    sums_CD = np.zeros_like(fresh_CD)
    for start in range(0, len(chosen_N), IMAGES_AT_ONCE):
        images = _ClassImages(faces, chosen_N[start : start + IMAGES_AT_ONCE])
        views_N2D = embed(images, network, batch_size)
        views_N2D = views_N2D / np.maximum(np.linalg.norm(views_N2D, axis=2, keepdims=True), MIN_NORM)
        views_N2D[list(images.unusable)] = 0
        np.add.at(sums_CD, faces.labels[images.indices] - classes.start, views_N2D.sum(axis=1))
    lengths_C1 = np.linalg.norm(sums_CD, axis=1, keepdims=True)
    means_CD = sums_CD / np.maximum(lengths_C1, MIN_NORM) * (CENTER_SIGMA * math.sqrt(fresh_CD.shape[1]))
    return np.where(lengths_C1 > MIN_NORM, means_CD, fresh_CD).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _ClassImages:
    """Some images of a training set; what cannot be decoded is black, and remembered."""

    faces: FaceDataset
    indices: NDArray[np.int64]
    unusable: set[int] = field(default_factory=set)
    """Numbers within these images."""

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, number: int) -> Image:
        """One of them."""
        index = int(self.indices[number])
        try:
            return decode(self.faces.image_bytes(index), self.faces.where(index))
        except InvalidInput:
            self.unusable.add(number)  # the training counts and tells it when it comes to it
            return np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def _chosen_images(labels: NDArray[np.int32], classes: ClassRange, most_images: int) -> NDArray[np.int64]:
    """Images of each class of a block, at most so many, class by class, at even distances.

    Neighbours are often frames of one video, so that the first ones would say less than these.
    """
    own: NDArray[np.int64] = np.flatnonzero((labels >= classes.start) & (labels < classes.start + classes.size))
    own = own[np.argsort(labels[own], kind="stable")]
    rows = labels[own] - classes.start
    counts = np.bincount(rows, minlength=classes.size)
    places = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_chosen = places * most_images // counts[rows] > (places - 1) * most_images // counts[rows]
    return np.asarray(own[is_chosen], np.int64)
