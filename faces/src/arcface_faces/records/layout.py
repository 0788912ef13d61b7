"""Which records of a set are its images, and of whom.

In the classic layout (InsightFace's faces_emore) key 0 is a header, which its flag above 0 tells, whether or not an
image is behind it: it announces two numbers a and b, and images are the keys 1 to a - 1. Then either each key from a to
b - 1 is an identity record, with the range of its images' keys and no image, or there are none, and b is something
else, as splitters of sets write it. In the other layout (im2rec, DALI's shuffled sets) every key is an image. What fits
two readings is refused with both: one of them would train on other images. So is an index without a header that does
not list all records: it may have been cut short, which a header would tell.

Where there are identity records, they and no image are read: they are 0.3 % of MS1MV2's bytes. Numbers in records are
float32 and exact only up to 2^24; above it `property` tells a, and the heads of the images about each identity's first
one tell where that is.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput
from arcface_faces.records import files, identity_bounds
from arcface_faces.records.index import Index, read_index
from arcface_faces.records.recordio import MAGIC_BYTES, RecordFile
from arcface_faces.records.table import RecordTable, read_heads

LOG = logging.getLogger(__name__)
SAMPLES = 256
"""Identities whose first and last images must say themselves what the identity records say of them."""
MOST_NAMED = 5
"""Keys that a message names."""
ALIGNMENT = 4
"""Bytes that the length of a record is filled up to a multiple of."""
LONGEST_SPAN = 1 << 20
"""Bytes to the next record beyond which a record's own head is asked: unlisted records may lie between."""


@dataclass(frozen=True, slots=True)
class RecordImages:
    """The images of a set in the order of their keys."""

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    spans: NDArray[np.int64]
    """Bytes from the start of a record that hold all of it."""
    identities: NDArray[np.int32]
    """Whose image it is, as the set numbers people: with gaps perhaps."""

    @classmethod
    def of(cls, heads: RecordTable, announced: files.Property | None, records: Path) -> Self:
        """As the heads of the images themselves tell."""
        empty = np.flatnonzero(heads.image_sizes == 0)
        if len(empty):
            raise InvalidInput(
                f"{records}: the record of key {heads.keys[empty[0]]} holds no image: write the file anew"
            )
        return cls(heads.keys, heads.offsets, heads.extents, _whole_labels(heads, announced, records))


def find_images(directory: Path) -> RecordImages:
    """The images of `train.rec` in a folder; InvalidInput where files are damaged, disagree or can be read two ways."""
    file = RecordFile(directory / files.RECORDS_FILE)
    announced = files.read_property(directory / files.PROPERTY_FILE)
    index = read_index(directory / files.INDEX_FILE, file.size)
    set_ = _RecordSet(file, index, np.argsort(index.keys, kind="stable"), announced)
    return set_.images()


@dataclass(frozen=True, slots=True)
class _RecordSet:
    """The files of a set, open."""

    file: RecordFile
    index: Index
    lines: NDArray[np.int64]
    """Rows of the index in the order of their keys."""
    announced: files.Property | None

    def heads(self, first: int, stop: int) -> RecordTable:
        """Of the records in these places of the order of keys."""
        return read_heads(self.file, self.index, self.lines[first:stop])

    def images(self) -> RecordImages:
        """As the layout tells that fits."""
        header = self.heads(0, 1)
        if header.keys[0] != 0 or header.flags[0] == 0:
            heads = self.heads(0, len(self.lines))
            self._check_all_listed(heads)
            return RecordImages.of(heads, self.announced, self.file.path)
        self._check_without_gaps()
        stop = self._first_key_behind_images(header)
        if stop < 2:
            raise InvalidInput(f"{self.file.path}: holds no image")
        counts = self._image_counts(stop)
        if counts is not None:
            images = self._images_by_identity_records(counts)
            if self._say_the_same(images, counts):
                _check_announced(images.keys, images.identities, self.announced, self.file.path)
                return images
        heads = self.heads(1, stop)
        if counts is not None:
            _check_numbered_otherwise(heads, images, self.file.path)
        if stop < len(self.lines):
            LOG.warning("%s: the heads of its images tell whose they are, not its identity records", self.file.path)
        return RecordImages.of(heads, self.announced, self.file.path)

    def _check_all_listed(self, heads: RecordTable) -> None:
        """InvalidInput where a record begins between those that the index lists, or before or behind them."""
        in_file = np.argsort(heads.offsets, kind="stable")
        starts = np.append(heads.offsets[in_file], self.file.size)
        ends = np.append(0, (heads.offsets + heads.extents + -heads.extents % ALIGNMENT)[in_file])
        for end in ends[ends < starts].tolist():
            if self.file.bytes_at(end, len(MAGIC_BYTES)) == MAGIC_BYTES:
                raise InvalidInput(
                    f"{self.index.path}: does not list the record at byte {end} of {self.file.path.name}: it is cut "
                    f"short, or of a part of the images alone: copy {files.RECORDS_FILE} and {files.INDEX_FILE} again, "
                    "together, or write the part into a file of its own"
                )

    def _check_without_gaps(self) -> None:
        """InvalidInput where the index lacks one of the keys that key 0 announces; they are unique."""
        missing = np.flatnonzero(self.index.keys[self.lines] != np.arange(len(self.lines)))
        if len(missing):
            raise InvalidInput(
                f"{self.index.path}: key {missing[0]} is missing, which key 0 announces: copy {files.RECORDS_FILE} and "
                f"{files.INDEX_FILE} again, together"
            )

    def _first_key_behind_images(self, header: RecordTable) -> int:
        """The number `a`; InvalidInput where no reading of key 0 fits."""
        records, key_count = self.file.path, len(self.lines)
        if key_count > files.EXACT_FLOAT32:
            if self.announced is None:
                raise InvalidInput(
                    f"{records}: more than {files.EXACT_FLOAT32} records need the file {files.PROPERTY_FILE} beside it"
                )
            return key_count - self.announced.identities
        first, stop = header.labels[0].tolist()
        if first == key_count or (first == first // 1 and 1 <= first < key_count == stop):
            return int(first)
        image, numbering = "", ""
        if header.image_sizes[0] > 0:
            image = f"; or key 0 is an image of identity {first:g} with an array of labels, as im2rec packs several"
            numbering = ", or give each image one label, or the first one key 1"
        raise InvalidInput(
            f"{records}: key 0 announces ({first:g}, {stop:g}), which fits no reading: images up to key {first - 1:g} "
            f"and identities up to key {stop - 1:g}, but the index ends at key {key_count - 1}; or images alone up to "
            f"key {first - 1:g}, but more or less than that follow{image}: copy {files.RECORDS_FILE} and "
            f"{files.INDEX_FILE} again, together{numbering}"
        )

    def _image_counts(self, stop: int) -> NDArray[np.int64] | None:
        """Images of each identity, from the identity records; None where these are not exact, or there are none.

        InvalidInput where the keys behind the announced images hold images, too, and are no identity records.
        """
        if stop == len(self.lines):
            return None
        heads = self.heads(stop, len(self.lines))
        first, last = heads.labels.astype(np.float64).T
        stored = np.append(first, np.float32(stop))
        is_whole = np.array_equal(stored[1:], last) and stored[0] == 1 and (np.diff(stored) >= 0).all()
        if (heads.flags > 1).all() and is_whole and np.array_equal(first, np.floor(first)):
            bounds = identity_bounds.exact_bounds(first, stop, self._labels_of)
            return None if bounds is None else np.diff(bounds)
        with_image = np.flatnonzero(heads.image_sizes > 0)
        if len(with_image):
            raise InvalidInput(
                f"{self.file.path}: can be read in two ways: key 0 announces images up to key {stop - 1} and identity "
                f"records behind them, but key {heads.keys[with_image[0]]} holds an image, too, so that images may go "
                f"up to key {heads.keys[-1]}: pack the images anew with 'arcface data pack'"
            )
        return None

    def _labels_of(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the heads of some images say of whom they are."""
        return read_heads(self.file, self.index, self.lines[keys]).labels[:, 0]

    def _images_by_identity_records(self, counts: NDArray[np.int64]) -> RecordImages:
        offsets = self.index.offsets[self.lines]
        in_file = np.argsort(offsets, kind="stable")
        spans = np.empty_like(offsets)
        spans[in_file] = np.diff(offsets[in_file], append=self.file.size)
        stop = int(counts.sum()) + 1
        offsets, spans = offsets[1:stop], spans[1:stop]
        for row in np.flatnonzero(spans > LONGEST_SPAN):
            spans[row] = self.file.extent(int(offsets[row]))
        keys = np.arange(1, stop, dtype=np.int64)
        return RecordImages(keys, offsets, spans, np.repeat(np.arange(len(counts), dtype=np.int32), counts))

    def _say_the_same(self, images: RecordImages, counts: NDArray[np.int64]) -> bool:
        """Whether some images' own heads number people as the identity records do.

        Where a set keeps the numbers of a larger one, the heads tell which; the reference trainer goes by them alone.
        """
        full = np.flatnonzero(counts)
        chosen = full[np.linspace(0, len(full) - 1, min(SAMPLES, len(full))).astype(np.int64)]
        lasts = np.cumsum(counts)[chosen]
        keys = np.unique(np.concatenate([lasts - counts[chosen] + 1, lasts]))
        heads = read_heads(self.file, self.index, self.lines[keys])
        return np.array_equal(heads.labels[:, 0], images.identities[keys - 1])


def _check_numbered_otherwise(heads: RecordTable, images: RecordImages, records: Path) -> None:
    """InvalidInput where the heads of no more than half of the images name other people than the identity records."""
    labels, count = heads.labels[:, 0], len(images.keys)
    others = np.flatnonzero(labels != images.identities)
    if 2 * len(others) > count:
        return
    named = [f"key {heads.keys[row]} {labels[row]:g} and not {images.identities[row]}" for row in others[:MOST_NAMED]]
    told = ", ".join([*named, *([f"{len(others) - MOST_NAMED} more"] if len(others) > MOST_NAMED else [])])
    heads_say = f"the heads of {len(others)} of {count} images name other people than the identity records ({told})"
    if len(others) <= identity_bounds.FEW * count:
        raise InvalidInput(f"{records}: {heads_say}: they are damaged, copy it again")
    raise InvalidInput(
        f"{records}: can be read in two ways: {heads_say}, so that either may number people: copy it again, or "
        "pack the images anew with 'arcface data pack'"
    )


def _whole_labels(heads: RecordTable, announced: files.Property | None, records: Path) -> NDArray[np.int32]:
    """Labels of the images as stored; InvalidInput where one is not a whole number from 0 to 2^24."""
    labels = heads.labels[:, 0]
    wrong = np.flatnonzero(~((labels >= 0) & (labels <= files.EXACT_FLOAT32) & (labels == np.floor(labels))))
    if len(wrong):
        raise InvalidInput(
            f"{records}: key {heads.keys[wrong[0]]} has label {labels[wrong[0]]}, not a whole number from 0 to "
            f"{files.EXACT_FLOAT32}: write the file anew"
        )
    _check_announced(heads.keys, labels, announced, records)
    return np.asarray(labels, np.int32)


def _check_announced(
    keys: NDArray[np.int64],
    labels: NDArray[np.int32] | NDArray[np.float32],
    announced: files.Property | None,
    records: Path,
) -> None:
    """InvalidInput where `property` announces fewer identities than there are."""
    if announced is not None and labels.max() >= announced.identities:
        row = int(labels.argmax())
        raise InvalidInput(
            f"{records}: key {keys[row]} has label {labels[row]:.0f}, but {files.PROPERTY_FILE} announces "
            f"{announced.identities} identities: the files belong to different sets"
        )
