"""How fast a rank's batches come, beside a loop that decodes and does nothing else."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from arcface_api.errors import InvalidInput
from arcface_faces.datasets.dataset import FaceDataset
from arcface_faces.images import cv2, decode
from arcface_trainer.data.loader import BatchLoader, Sampler

TURNS = 4
"""Loop and loader are measured in turns, so that a busy machine is busy for both."""
STRIDE = 9973
"""Positions between the starts of the turns, which decode other images."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Images per second with the same threads."""

    decoded: float
    """Read and decoded in a loop."""
    loaded: float
    """Taken as batches, augmented."""


def measure(faces: FaceDataset, sampler: Sampler, augmentation: str, threads: int, seconds: float) -> Throughput:
    """Both figures, after `seconds` of each."""
    cv2.setNumThreads(1)  # as in a training
    sampler.batch(0)  # sorts the epoch's order, which a training does once in hours
    decoded = loaded = 0.0
    for turn in range(TURNS):
        decoded += _decoding_rate(faces, sampler, turn, threads, seconds / TURNS) / TURNS
        loaded += _loading_rate(BatchLoader(faces, sampler, augmentation, threads), seconds / TURNS) / TURNS
    return Throughput(decoded, loaded)


def _loading_rate(loader: BatchLoader, seconds: float) -> float:
    """Images per second of one that begins now, with nothing decoded ahead."""
    began, step = time.perf_counter(), 0
    with loader:
        while (passed := time.perf_counter() - began) < seconds:
            loader.take(step)
            step += 1
    return step * loader.sampler.global_batch_size / passed


def _decoding_rate(faces: FaceDataset, sampler: Sampler, turn: int, threads: int, seconds: float) -> float:
    """Images per second in the order of an epoch, each thread with its own share of them."""
    order = sampler.permutation(0)
    deadline = time.perf_counter() + seconds

    def loop(thread: int) -> int:
        count = 0
        while time.perf_counter() < deadline:
            index = int(order[(count * threads + thread + turn * STRIDE) % len(order)])
            with contextlib.suppress(InvalidInput):  # the loader tolerates some, and tells of them
                decode(faces.image_bytes(index), faces.where(index))
            count += 1
        return count

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(loop, range(threads)))
    return total / (time.perf_counter() - began)
