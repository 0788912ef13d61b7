"""Embeds with several processes, one for each device: each loads the network and embeds its share of the batches.

No collectives: batches are the same whatever the number of processes, and come back by pipes.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import cast

from arcface_api.cpu_affinity import core_share
from arcface_api.errors import ArcFaceError
from arcface_faces.embedding import embedder
from arcface_faces.embedding.embedder import Embedder, Images, InProcessEmbedder, LoadNetwork
from arcface_faces.embedding.vectors import Embeddings
from arcface_faces.progress import Advance

SPAWN = multiprocessing.get_context("spawn")
"""Forks of a process with threads may hang."""


class MultiProcessEmbedder:
    """The processes behind these connections."""

    def __init__(self, connections: list[Connection]) -> None:
        self.connections = connections

    def __call__(self, images: Images, advance: Advance, /) -> Embeddings:
        """Embeddings of all images.

        Raises:
            InvalidInput: what a process finds wrong with an image or the network.
            ArcFaceError: where a process has died.
        """
        for connection in self.connections:
            with contextlib.suppress(OSError):  # of a process that has died; waiting for its answer tells
                connection.send(images)
        return embedder.gather_batches(self._answers(), len(images), advance)

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


@contextmanager
def open_embedder(load: LoadNetwork, batch_size: int, processes: int) -> Iterator[Embedder]:
    """An embedder with that many processes; one needs none beside this."""
    if processes == 1:
        yield InProcessEmbedder(load, batch_size)
        return
    with contextlib.ExitStack() as stack:
        yield MultiProcessEmbedder(
            [stack.enter_context(_start(load, batch_size, number, processes)) for number in range(processes)]
        )


@contextmanager
def _start(load: LoadNetwork, batch_size: int, number: int, processes: int) -> Iterator[Connection]:
    """One process and the connection to it."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve, args=(theirs, load, batch_size, number, processes), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.kill()
        process.join()


def _serve(connection: Connection, load: LoadNetwork, batch_size: int, number: int, processes: int) -> None:
    """Embed this process's share of whatever images come."""
    # Where several processes share a host's cores, each decodes and computes on its own ones.
    os.sched_setaffinity(0, core_share(os.sched_getaffinity(0), processes, number))
    os.environ["DEVICE_ID"] = str(number)  # MindSpore on Ascend takes the card from it
    own = InProcessEmbedder(load, batch_size)
    with contextlib.suppress(EOFError, OSError):  # whoever asked has left
        while True:
            images: Images = connection.recv()
            try:
                for batch in _embed_share(own, images, number, processes):
                    connection.send(batch)
                connection.send(None)
            except ArcFaceError as error:
                connection.send(error)


def _embed_share(
    own: InProcessEmbedder, images: Images, number: int, processes: int
) -> Iterator[tuple[int, Embeddings]]:
    """The batches of one of several equal shares."""
    size = own.batch_size
    batches = -(-len(images) // size)
    share = -(-batches // processes) * size
    numbers = range(len(images))[number * share : (number + 1) * share]
    if numbers:
        yield from embedder.embed_batches(images, numbers, own.network, size)
