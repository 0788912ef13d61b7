"""From images to embeddings through a network: batches, decoded in threads ahead of the network.

Threads and not processes: OpenCV decodes and warps, and MindSpore computes, without the lock of Python. With several
devices there is a process for each: it loads the network and embeds its share of the batches. No collectives: batches
are the same whatever the number of processes, and come back by pipes.
"""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.pod_environment import DEVICE_ID
from arcface_api.cpu_affinity import core_share, thread_count
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.embedding.vectors import Embeddings, check_finite
from arcface_faces.images import IMAGE_SIZE, Image
from arcface_faces.progress import Advance
from arcface_faces.workers import uninterrupted, work_for

BATCHES_AHEAD = 2
"""Beyond those that the threads work on."""
MOST_THREADS = 16
"""One decodes and aligns some 2,400 images a second; more of them would only hold more batches."""

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""RGB images (B, 3, 112, 112) to embeddings (B, D)."""
LoadNetwork = Callable[[], Network]
SPAWN = multiprocessing.get_context("spawn")
"""Forks of a process with threads may hang."""


class Images(Protocol):
    """Images that are made when they are asked for, by several threads at once."""

    def __len__(self) -> int: ...

    def image(self, number: int, /) -> Image:
        """One of them, as the network takes it."""


class Embedder(Protocol):
    """From images to embeddings (N, 2, D), whatever computes them."""

    def __call__(self, images: Images, numbers: range, advance: Advance, /) -> Embeddings:
        """Embeddings of the images with these numbers."""


class InProcessEmbedder:
    """Embeds in this process, with a network that is loaded when the first images come."""

    def __init__(self, load: LoadNetwork, batch_size: int) -> None:
        self.load = load
        self.batch_size = batch_size

    @cached_property
    def network(self) -> Network:
        """The network, loaded."""
        return self.load()

    def __call__(self, images: Images, numbers: range, advance: Advance, /) -> Embeddings:
        """Embeddings of the images with these numbers."""
        return _gather_batches(_embed_batches(images, numbers, self.network, self.batch_size), numbers, advance)


def embed(images: Images, network: Network, batch_size: int, advance: Advance = lambda _: None) -> Embeddings:
    """Embeddings (N, 2, D) of the original and the mirrored images.

    The network sees `batch_size` images and in the end what is left; those that want one shape fill batches up
    themselves. Kept in memory are the embeddings and a few batches.
    """
    numbers = range(len(images))
    return _gather_batches(_embed_batches(images, numbers, network, batch_size), numbers, advance)


def _embed_batches(
    images: Images, numbers: range, network: Network, batch_size: int
) -> Iterator[tuple[int, Embeddings]]:
    """Embeddings of the images with these numbers, a batch at a time with the number of its first image."""
    first = numbers.start
    for batch in _prefetch(images, numbers, batch_size):
        views = np.stack([_embed_batch(view, network) for view in (batch, batch[..., ::-1])], axis=1)
        check_finite(views, "embeddings of the network", first, "take another checkpoint or model")
        yield first, views
        first += len(batch)


def _gather_batches(batches: Iterable[tuple[int, Embeddings]], numbers: range, advance: Advance) -> Embeddings:
    """The batches of the images with these numbers, which may come in any order, as one array."""
    embeddings: Embeddings | None = None
    for first, views in batches:
        if embeddings is None:
            embeddings = np.empty((len(numbers), *views.shape[1:]), np.float32)
        row = first - numbers.start
        embeddings[row : row + len(views)] = views
        advance(len(views))
    if embeddings is None:
        raise InvalidInput("there are no images to embed")
    return embeddings


def decoding_threads() -> int:
    """One for each core that this process may use, within reason."""
    return thread_count(MOST_THREADS)


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


def _embed_batch(batch: NDArray[np.uint8], network: Network) -> Embeddings:
    answer = network(np.ascontiguousarray(batch))
    if answer.ndim != 2 or len(answer) != len(batch):
        raise InvalidInput(f"the network answers {len(batch)} images with an array of shape {answer.shape}")
    if answer.shape[1] < 2:
        raise InvalidInput("the network answers with one number an image, which is no embedding: take another output")
    return answer.astype(np.float32, copy=False)


class MultiProcessEmbedder:
    """The processes behind these connections."""

    def __init__(self, connections: list[Connection]) -> None:
        self.connections = connections
        self.sent: Images | None = None

    def __call__(self, images: Images, numbers: range, advance: Advance, /) -> Embeddings:
        """Embeddings of the images with these numbers.

        Raises:
            InvalidInput: what a process finds wrong with an image or the network.
            ArcFaceError: where a process has died.
        """
        words = [numbers] if images is self.sent else [images, numbers]
        for connection in self.connections:
            with contextlib.suppress(OSError):  # of a process that has died; waiting for its answer tells
                for word in words:
                    connection.send(word)
        self.sent = images
        return _gather_batches(self._answers(), numbers, advance)

    def _answers(self) -> Iterator[tuple[int, Embeddings]]:
        """Batches as they come, until every process has sent its last one."""
        busy = list(self.connections)
        while busy:
            for ready in wait(busy):
                answer = _receive(cast("Connection", ready))
                if answer is None:
                    busy.remove(cast("Connection", ready))
                else:
                    yield answer


def _receive(connection: Connection) -> tuple[int, Embeddings] | None:
    """A batch; None where the process has embedded its share."""
    try:
        answer = connection.recv()
    except (EOFError, OSError):
        raise ArcFaceError("a process that embeds images has died; look for it among those out of memory") from None
    if isinstance(answer, Exception):
        raise answer
    return cast("tuple[int, Embeddings] | None", answer)


@contextlib.contextmanager
def open_embedder(load: LoadNetwork, batch_size: int, processes: int) -> Iterator[Embedder]:
    """An embedder with that many processes; one needs none beside this."""
    if processes == 1:
        yield InProcessEmbedder(load, batch_size)
        return
    with contextlib.ExitStack() as stack:
        yield MultiProcessEmbedder(
            [stack.enter_context(_start(load, batch_size, number, processes)) for number in range(processes)]
        )


@contextlib.contextmanager
def _start(load: LoadNetwork, batch_size: int, number: int, processes: int) -> Iterator[Connection]:
    """One process and the connection to it."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve, args=(theirs, load, batch_size, number, processes), daemon=True)
    try:
        with uninterrupted():
            process.start()
        theirs.close()
        yield ours
    finally:
        ours.close()
        if process.pid is not None:
            process.kill()
            process.join()


def _serve(connection: Connection, load: LoadNetwork, batch_size: int, number: int, processes: int) -> None:
    """Embed this process's share of whatever numbers come, of the images that came last."""
    work_for(os.getppid())
    # Where several processes share a host's cores, each decodes and computes on its own ones.
    os.sched_setaffinity(0, core_share(os.sched_getaffinity(0), processes, number))
    os.environ[DEVICE_ID] = str(number)  # MindSpore on Ascend takes the card from it
    own = InProcessEmbedder(load, batch_size)
    with contextlib.suppress(EOFError, OSError):  # whoever asked has left
        images: Images = connection.recv()
        while True:
            asked = connection.recv()
            if not isinstance(asked, range):
                images = asked
                continue
            try:
                for batch in _embed_share(own, images, _share(asked, batch_size, number, processes)):
                    connection.send(batch)
                connection.send(None)
            except ArcFaceError as error:
                connection.send(error)


def _share(numbers: range, batch_size: int, number: int, processes: int) -> range:
    """One of several equal shares, of whole batches."""
    batches = -(-len(numbers) // batch_size)
    share = -(-batches // processes) * batch_size
    return numbers[number * share : (number + 1) * share]


def _embed_share(own: InProcessEmbedder, images: Images, numbers: range) -> Iterator[tuple[int, Embeddings]]:
    """The batches of a share, which may be empty: then no network is loaded."""
    if numbers:
        yield from _embed_batches(images, numbers, own.network, own.batch_size)
