"""Decodes the batches of coming steps in threads while the network computes."""

import logging
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunData, RunRanks
from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import TrainingSpec
from arcface_faces.datasets.dataset import FaceDataset, open_dataset
from arcface_faces.images import IMAGE_SIZE, Image, cv2, decode
from arcface_trainer.data.augmentation import augment, image_random
from arcface_trainer.data.sampler import Sampler

LOG = logging.getLogger(__name__)
FEWEST_TOLERATED = 10
TOLERATED_SHARE = 0.001
"""Share of the images that may be undecodable before the data as a whole are taken for damaged."""
MOST_THREADS = 8
"""That decode for one rank, if it may use so many cores."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a step."""

    images: NDArray[np.uint8]
    """RGB (b, 3, 112, 112)."""
    labels: NDArray[np.int32]
    """Identity of each image, (b,)."""


class BatchLoader:
    """Batches by step, prefetched in the order of the steps; use as a context manager."""

    def __init__(self, faces: FaceDataset, sampler: Sampler, augmentation: str, threads: int) -> None:
        self.faces = faces
        self.sampler = sampler
        self.augmentation = augmentation
        self.skipped: set[int] = set()
        self._lock = Lock()
        self._depth = threads + 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._ahead: deque[Future[Batch]] = deque()
        self._next_step = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self, step: int) -> Batch:
        """Batch of a step; decoding of the following ones goes on in the background."""
        if step != self._next_step:
            self._ahead.clear()
            self._next_step = step
        while len(self._ahead) <= self._depth:
            self._ahead.append(self._pool.submit(self._make, self._next_step + len(self._ahead)))
        self._next_step += 1
        return self._ahead.popleft().result()

    def _make(self, step: int) -> Batch:
        """Read, decode and augment the images of a step."""
        share = self.sampler.batch(step)
        size = len(share.indices)
        images = np.empty((size, 3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        labels = np.empty(size, np.int32)
        for row, (position, index) in enumerate(zip(share.positions.tolist(), share.indices.tolist(), strict=True)):
            image, labels[row] = self._image_or_next(index)
            random = image_random(self.sampler.seed, share.epoch, position)
            images[row] = augment(image, self.augmentation, random).transpose(2, 0, 1)
        return Batch(images, labels)

    def _image_or_next(self, index: int) -> tuple[Image, int]:
        """Image and label at `index`, or of the next image that can be decoded.

        Which image stands in does not depend on rank or step, so the joined batch stays the same for any number of
        ranks.

        Raises:
            InvalidInput: when more images than tolerated are undecodable.
            ArcFaceError: when one cannot be read now but may be later: that is no damage, and the run is tried again.
        """
        while True:
            try:
                image = decode(self.faces.image_bytes(index), self.faces.where(index))
                return image, int(self.faces.labels[index])
            except InvalidInput as error:
                self._count_skipped(index, error)
            index = (index + 1) % len(self.faces.labels)

    def _count_skipped(self, index: int, error: InvalidInput) -> None:
        with self._lock:
            is_new = index not in self.skipped
            self.skipped.add(index)
            count = len(self.skipped)
        tolerated = max(FEWEST_TOLERATED, int(TOLERATED_SHARE * len(self.faces.labels)))
        if count > min(tolerated, len(self.faces.labels) - 1):
            raise InvalidInput(
                f"{count} images cannot be used, more than the {tolerated} that are tolerated: list them with "
                f"'arcface data verify'; the last one: {error}"
            )
        if is_new:
            LOG.warning("image is skipped and the next one taken skipped=%d reason=%s", count, error)


def open_loader(data: RunData, training: TrainingSpec, ranks: RunRanks, rank: int) -> BatchLoader:
    """The loader of a rank's batches; InvalidInput where the images are damaged, or too few for ranks and batch."""
    cv2.setNumThreads(1)  # images are decoded in threads of ours
    faces = open_dataset(Path(data.directory), data.min_images_per_identity)
    if faces.class_count < ranks.world_size:
        raise InvalidInput(
            f"{data.directory}: {ranks.world_size} ranks share {faces.class_count} identities and each needs one: "
            "lower spec.workers.replicas or devicesPerWorker, or add identities"
        )
    total_batch_size = training.batch_size * ranks.world_size
    sampler = Sampler(len(faces.labels), total_batch_size, training.seed, ranks.world_size, rank)
    LOG.info("images=%d identities=%d left_out=%d", len(faces.labels), faces.class_count, faces.dropped_identities)
    threads = max(1, min(MOST_THREADS, len(os.sched_getaffinity(0))))
    return BatchLoader(faces, sampler, data.augmentation, threads)
