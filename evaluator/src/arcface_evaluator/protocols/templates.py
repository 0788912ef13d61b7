"""IJB's templates: the vectors of a template's images are pooled into one. Needs NumPy only.

A template's vector is a weighted sum of its images' vectors, an image weighing one by the images of its media in
the template. The protocol's choices (norm kept or not, detector's score or not, mirrored view or not) only change the
weights and the vector of an image, so that several of them are computed in one pass.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcface_api.cpu_affinity import thread_count
from arcface_faces.embedding.vectors import Embeddings, nonzero_norms

IMAGE_BLOCK = 128
"""Images that a thread holds in float64 at once: few enough for a core's cache, and few templates to multiply for."""


@dataclass(frozen=True, slots=True)
class Templates:
    """Who is who, by index: templates are counted in the order of their ids."""

    ids: NDArray[np.int64]
    """(T,) id of each template."""
    template: NDArray[np.int64]
    """(N,) index of each image's template."""
    media: NDArray[np.int64]
    """(N,) media id of each image; frames of one video share it."""


@dataclass(frozen=True, slots=True)
class PoolingChoice:
    """How the vector of an image enters its template."""

    keep_norm: bool = True
    """Whether an image's vector keeps its length, a sign of its quality."""
    detector_score: bool = True
    """Whether it is multiplied by the detector's confidence."""
    flip: bool = True
    """Whether the mirrored view is added."""


ALL_CHOICES = tuple(
    PoolingChoice(keep_norm, score, flip)
    for flip in (True, False)
    for keep_norm in (True, False)
    for score in (True, False)
)


def pool(
    embeddings_NVD: Embeddings, scores: NDArray[np.float64], templates: Templates, choices: Sequence[PoolingChoice]
) -> list[NDArray[np.float64]]:
    """Unit vectors (T, D) of the templates for each choice; a template of zeros stays zero.

    Args:
        embeddings_NVD: N images in V = 1 or 2 views.
        scores: (N,) the detector's confidence.
        templates: which image belongs where.
        choices: what to compute; flip needs two views.
    """
    shape = (len(templates.ids), embeddings_NVD.shape[2])
    pooled = [np.zeros(shape) for _ in choices]
    order = np.argsort(templates.template, kind="stable")
    shares = _media_shares(templates)

    def add(rows: slice) -> None:
        images = order[rows]
        members, place = np.unique(templates.template[images], return_inverse=True)
        views = embeddings_NVD[images]
        for flip in {choice.flip for choice in choices}:
            chosen = [number for number, choice in enumerate(choices) if choice.flip == flip]
            vectors = np.add.reduce(views, axis=1, dtype=np.float64) if flip else views[:, 0].astype(np.float64)
            # One product for all choices: a row of weights for each template of each.
            weights = np.zeros((len(chosen), len(members), len(images)))
            for row, number in enumerate(chosen):
                weights[row, place, np.arange(len(images))] = _image_weights(
                    choices[number], vectors, shares[images], scores[images]
                )
            sums = weights.reshape(-1, len(images)) @ vectors
            for row, number in enumerate(chosen):
                pooled[number][members] = sums[row * len(members) : (row + 1) * len(members)]

    # Blocks end where templates end, so that no two write to one template.
    with ThreadPoolExecutor(thread_count()) as threads:
        list(threads.map(add, _blocks(templates.template[order])))
    return [sums * (1 / nonzero_norms(sums))[:, None] for sums in pooled]


def _image_weights(
    choice: PoolingChoice, vectors_ND: NDArray[np.float64], shares: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) how much each image's vector counts in its template."""
    weights = shares * scores if choice.detector_score else shares
    return weights if choice.keep_norm else weights * (1 / nonzero_norms(vectors_ND))


def _media_shares(templates: Templates) -> NDArray[np.float64]:
    """(N,) one by the number of images with the same template and media."""
    order = np.lexsort((templates.media, templates.template))
    template, media = templates.template[order], templates.media[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(template) != 0) | (np.diff(media) != 0)
    group = np.cumsum(is_first) - 1
    shares = np.empty(len(order))
    shares[order] = 1 / np.bincount(group)[group]
    return shares


def _blocks(sorted_templates: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of about IMAGE_BLOCK images that end where a template ends."""
    ends = np.append(np.flatnonzero(np.diff(sorted_templates)) + 1, len(sorted_templates))
    start = 0
    while start < len(sorted_templates):
        end = int(ends[np.searchsorted(ends, min(start + IMAGE_BLOCK, len(sorted_templates)))])
        yield slice(start, end)
        start = end
