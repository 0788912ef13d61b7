"""From images to embeddings through a network: constant batches, decoded in threads ahead of the network.

Threads and not processes: OpenCV decodes and warps, and MindSpore computes, without Python's lock.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.embedding.vectors import Embeddings, check_finite
from arcface_faces.images import IMAGE_SIZE, Image
from arcface_faces.progress import Advance

BATCHES_AHEAD = 2
"""Beyond those that the threads work on."""
MOST_THREADS = 16
"""One decodes and aligns some 2,400 images a second; more of them would only hold more batches."""

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""RGB images (B, 3, 112, 112) to embeddings (B, D)."""
LoadNetwork = Callable[[], Network]


class Images(Protocol):
    """Images that are made when they are asked for, by several threads at once."""

    def __len__(self) -> int: ...

    def image(self, number: int, /) -> Image:
        """One of them, as the network takes it."""


class Embedder(Protocol):
    """From images to embeddings (N, 2, D), whatever computes them."""

    def __call__(self, images: Images, advance: Advance, /) -> Embeddings:
        """Embeddings of all images."""


class InProcessEmbedder:
    """Embeds in this process, with a network that is loaded when the first images come."""

    def __init__(self, load: LoadNetwork, batch_size: int) -> None:
        self.load = load
        self.batch_size = batch_size

    @cached_property
    def network(self) -> Network:
        """The network, loaded."""
        return self.load()

    def __call__(self, images: Images, advance: Advance, /) -> Embeddings:
        """Embeddings of all images."""
        return embed(images, self.network, self.batch_size, advance)


def embed(images: Images, network: Network, batch_size: int, advance: Advance = lambda _: None) -> Embeddings:
    """Embeddings (N, 2, D) of the original and the mirrored images.

    The network always sees `batch_size` images, so graph compilers meet one shape; the last batch is filled with
    black images whose embeddings are dropped. Kept in memory are the embeddings and a few batches.
    """
    return gather_batches(embed_batches(images, range(len(images)), network, batch_size), len(images), advance)


def embed_batches(
    images: Images, numbers: range, network: Network, batch_size: int
) -> Iterator[tuple[int, Embeddings]]:
    """Embeddings of the images with these numbers, a batch at a time with the number of its first image."""
    first = numbers.start
    for batch in _prefetch(images, numbers, batch_size):
        views = np.stack([_embed_batch(view, network, batch_size) for view in (batch, batch[..., ::-1])], axis=1)
        check_finite(views, "embeddings of the network", first, "take another checkpoint or model")
        yield first, views
        first += len(batch)


def gather_batches(batches: Iterable[tuple[int, Embeddings]], count: int, advance: Advance) -> Embeddings:
    """The batches of `count` images, which may come in any order, as one array."""
    embeddings: Embeddings | None = None
    for first, views in batches:
        if embeddings is None:
            embeddings = np.empty((count, *views.shape[1:]), np.float32)
        embeddings[first : first + len(views)] = views
        advance(len(views))
    if embeddings is None:
        raise InvalidInput("there are no images to embed")
    return embeddings


def decoding_threads() -> int:
    """One for each core that this process may use, within reason."""
    return min(len(os.sched_getaffinity(0)), MOST_THREADS)


def _prefetch(images: Images, numbers: range, batch_size: int) -> Iterator[NDArray[np.uint8]]:
    """Batches (up to B, 3, 112, 112) in order; threads prepare the next ones while the caller works on one."""
    threads = decoding_threads()
    starts = iter(range(0, len(numbers), batch_size))

    def make(start: int) -> NDArray[np.uint8]:
        own = numbers[start : start + batch_size]
        batch = np.empty((len(own), 3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        for row, number in enumerate(own):
            batch[row] = images.image(number).transpose(2, 0, 1)
        return batch

    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as decoders:
        ahead: deque[Future[NDArray[np.uint8]]] = deque()
        try:
            while True:
                missing = threads + BATCHES_AHEAD - len(ahead)
                ahead.extend(decoders.submit(make, start) for start in islice(starts, missing))
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:
            decoders.shutdown(cancel_futures=True)


def _embed_batch(batch: NDArray[np.uint8], network: Network, batch_size: int) -> Embeddings:
    padded = np.zeros((batch_size, *batch.shape[1:]), np.uint8)
    padded[: len(batch)] = batch
    answer = network(padded)
    if answer.ndim != 2 or len(answer) != batch_size:
        raise InvalidInput(f"the network answers {batch_size} images with an array of shape {answer.shape}")
    return answer[: len(batch)].astype(np.float32)
