"""From pictures to embeddings through a network: constant batches, decoded in a thread ahead of the network."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_evaluator.embeddings_file import check_finite
from arcface_evaluator.pair_protocol import Embeddings

BATCHES_AHEAD = 2

Picture = NDArray[np.uint8]
"""RGB (112, 112, 3)."""
Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""RGB pictures (B, 3, 112, 112) to embeddings (B, D)."""
Advance = Callable[[int], object]
"""Told the number of pictures embedded since the last call."""


class Pictures(Protocol):
    """Pictures that are made one by one while they are iterated over."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Picture]: ...


def embed(pictures: Pictures, network: Network, batch_size: int, advance: Advance = lambda _: None) -> Embeddings:
    """Embeddings (N, 2, D) of the original and the mirrored pictures.

    The network always sees `batch_size` pictures, so graph compilers meet one shape; the last batch is filled with
    black pictures whose embeddings are dropped. Kept in memory are the embeddings and a few batches.
    """
    embeddings: Embeddings | None = None
    done = 0
    for batch in batches_ahead(pictures, batch_size):
        views = np.stack([_embed_batch(view, network, batch_size) for view in (batch, batch[..., ::-1])], axis=1)
        check_finite(views, "embeddings of the network", first_row=done)
        if embeddings is None:
            embeddings = np.empty((len(pictures), *views.shape[1:]), np.float32)
        embeddings[done : done + len(batch)] = views
        done += len(batch)
        advance(len(batch))
    if embeddings is None:
        raise InvalidInput("there are no pictures to embed")
    return embeddings


def batches_ahead(pictures: Iterable[Picture], batch_size: int) -> Iterator[NDArray[np.uint8]]:
    """Batches (up to B, 3, 112, 112) in order; a thread prepares the next ones while the caller works on one."""
    source = iter(pictures)

    def next_batch() -> NDArray[np.uint8] | None:
        batch = list(islice(source, batch_size))
        return np.stack(batch).transpose(0, 3, 1, 2) if batch else None

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as decoder:
        ahead: deque[Future[NDArray[np.uint8] | None]] = deque(decoder.submit(next_batch) for _ in range(BATCHES_AHEAD))
        try:
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(decoder.submit(next_batch))
                yield batch
        finally:
            decoder.shutdown(cancel_futures=True)


def _embed_batch(batch: NDArray[np.uint8], network: Network, batch_size: int) -> Embeddings:
    padded = np.zeros((batch_size, *batch.shape[1:]), np.uint8)
    padded[: len(batch)] = batch
    answer = network(padded)
    if answer.ndim != 2 or len(answer) != batch_size:
        raise InvalidInput(f"the network answers {batch_size} pictures with an array of shape {answer.shape}")
    return answer[: len(batch)].astype(np.float32)
