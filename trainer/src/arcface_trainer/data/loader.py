"""Which images a rank takes at a step, and their decoding in threads while the network computes.

The order of the images (`order`) is a function of (seed, epoch, position) alone. Nothing is remembered between steps,
so a run continues at any step, with any world size, exactly where it stopped. The joined batch of all ranks does not
depend on their number.
"""

import logging
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunData, RunRanks
from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import TrainingSpec
from arcface_faces.datasets.dataset import FaceDataset, open_dataset
from arcface_faces.images import IMAGE_SIZE, Image, cv2, decode
from arcface_trainer.data.augmentation import augment, step_draws
from arcface_trainer.data.order import epoch_order, runs_of_window
from arcface_trainer.data.split import PADDING, BatchSplit

LOG = logging.getLogger(__name__)
FEWEST_TOLERATED = 10
TOLERATED_SHARE = 0.001
"""Share of the images that may be undecodable before the data as a whole are taken for damaged."""
MOST_THREADS = 8
"""That decode for one rank, if it may use so many cores."""


@dataclass(frozen=True, slots=True)
class BatchShare:
    """A rank's share of one step: positions within the epoch's order and the images that stand there."""

    epoch: int
    positions: NDArray[np.int64]
    indices: NDArray[np.int32]
    is_image: NDArray[np.bool_]
    """False where a row only fills a micro-batch up: it repeats another one and counts for nothing."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Shuffled batches without replacement; the remainder of an epoch that fills no batch is left out."""

    dataset_size: int
    global_batch_size: int
    seed: int
    world_size: int = 1
    rank: int = 0
    most_at_once: int | None = None
    """Images that a rank has memory for; absent: for all that it takes in a step."""
    window: int | None = None
    """Images that are shuffled with each other; None for all of the set."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InvalidInput(f"training.seed {self.seed} is negative: choose 0 or more")
        if not 0 <= self.rank < self.world_size:
            raise InvalidInput(f"rank {self.rank} lies outside the world of {self.world_size} ranks")
        if self.global_batch_size < self.world_size:
            raise InvalidInput(
                f"total batch of {self.global_batch_size} images cannot be shared by {self.world_size} ranks: start no "
                "more ranks than images, or raise training.batchSize in another job"
            )
        if self.dataset_size < self.global_batch_size:
            raise InvalidInput(
                f"{self.dataset_size} images do not fill one total batch of {self.global_batch_size}: lower "
                "training.batchSize or the number of ranks, or add images"
            )

    @property
    def split(self) -> BatchSplit:
        """How the images of a step are dealt out."""
        return BatchSplit(self.global_batch_size, self.world_size, self.most_at_once or self.global_batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in one epoch, at least 1."""
        return self.dataset_size // self.global_batch_size

    def permutation(self, epoch: int) -> NDArray[np.int32]:
        """Order of all images in this epoch, the same on every rank (read-only array)."""
        return epoch_order(self.dataset_size, self.seed, epoch, self.window)

    def runs_ahead(self, step: int) -> list[tuple[int, int]]:
        """Runs of images that the next window needs, where a step is the first of its own; at an epoch's start of both.

        Each is the first image and the one behind the last.
        """
        if self.window is None:
            return []
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        number, before = (at * self.global_batch_size // self.window for at in (step_of_epoch, step_of_epoch - 1))
        coming = [0, 1] if step_of_epoch == 0 else [number + 1] if number != before else []
        return [run for one in coming for run in runs_of_window(self.dataset_size, self.seed, epoch, self.window, one)]

    def batch(self, step: int) -> BatchShare:
        """This rank's part of the global step, counted from 0 across epochs."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        rows, is_image = self.split.rows(self.rank)
        positions = step_of_epoch * self.global_batch_size + rows
        return BatchShare(epoch, positions, self.permutation(epoch)[positions], is_image)


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a step: its micro-batches, one behind the other."""

    images: NDArray[np.uint8]
    """RGB (b, 3, 112, 112)."""
    labels: NDArray[np.int32]
    """Identity of each image, (b,); `PADDING` for a row that only fills a micro-batch up."""

    @property
    def image_count(self) -> int:
        """Images that count."""
        return int((self.labels != PADDING).sum())


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

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self, step: int) -> Batch:
        """Batch of a step; decoding of the following ones goes on in the background."""
        if step != self._next_step:
            self._ahead.clear()
            self._next_step = step
        while len(self._ahead) <= self._depth:
            coming = self._next_step + len(self._ahead)
            if runs := self.sampler.runs_ahead(coming):
                self._pool.submit(self._read_ahead, runs)
            self._ahead.append(self._pool.submit(self._make, coming))
        self._next_step += 1
        return self._ahead.popleft().result()

    def _read_ahead(self, runs: list[tuple[int, int]]) -> None:
        for start, stop in runs:
            self.faces.read_ahead(start, stop)

    def _make(self, step: int) -> Batch:
        """Read, decode and augment the images of a step."""
        share = self.sampler.batch(step)
        size = len(share.indices)
        images = np.empty((size, 3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        planes = list(images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE))
        taken = share.indices.tolist()
        for row, draws in enumerate(self._draws(share)):
            image, taken[row] = self._image_or_next(taken[row])
            cv2.split(augment(image, self.augmentation, draws), planes[3 * row : 3 * row + 3])
        labels = np.where(share.is_image, self.faces.labels[taken], PADDING).astype(np.int32)
        return Batch(images, labels)

    def _draws(self, share: BatchShare) -> list[list[float]]:
        """What the augmentation of each image depends on."""
        images = self.sampler.global_batch_size
        step, rows = share.positions[0] // images, share.positions % images
        draws: list[list[float]] = step_draws(self.sampler.seed, share.epoch, int(step), images)[rows].tolist()
        return draws

    def _image_or_next(self, index: int) -> tuple[Image, int]:
        """The image at `index`, or the next one that can be decoded, and where that stands.

        Which image stands in does not depend on rank or step, so the joined batch stays the same for any number of
        ranks.

        Raises:
            InvalidInput: when more images than tolerated are undecodable.
            ArcFaceError: when one cannot be read now but may be later: that is no damage, and the run is tried again.
        """
        while True:
            try:
                return decode(self.faces.image_bytes(index), self.faces.where(index)), index
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


def open_loader(
    data: RunData, training: TrainingSpec, ranks: RunRanks, rank: int, checkpoints: Path | None = None
) -> BatchLoader:
    """The loader of a rank's batches, the index of the images kept beside the checkpoints where theirs is read-only.

    Raises:
        InvalidInput: where the images are damaged, or too few for ranks and batch.
    """
    cv2.setNumThreads(1)  # images are decoded in threads of ours
    faces = open_dataset(Path(data.directory), data.min_images_per_identity, checkpoints)
    if faces.class_count < 2:
        raise InvalidInput(
            f"{data.directory}: {faces.class_count} identity with at least {data.min_images_per_identity} images, a "
            "classifier needs 2: lower spec.data.minImagesPerIdentity or add identities"
        )
    if faces.class_count < ranks.world_size:
        raise InvalidInput(
            f"{data.directory}: {ranks.world_size} ranks share {faces.class_count} identities and each needs one: "
            "lower spec.workers.replicas or devicesPerWorker, or add identities"
        )
    total, most = ranks.total_batch_size(training.batch_size), training.micro_batch_size
    sampler = Sampler(len(faces.labels), total, training.seed, ranks.world_size, rank, most, data.shuffle_window)
    LOG.info("images=%d identities=%d left_out=%d", len(faces.labels), faces.class_count, faces.dropped_identities)
    threads = max(1, min(MOST_THREADS, len(os.sched_getaffinity(0))))
    return BatchLoader(faces, sampler, data.augmentation, threads)
