"""The data of a training beside what they cannot do without: `python bench_data.py [FACES]`.

Batches beside a bare loop of `cv2.imdecode` over bytes in memory, by the processor time of one core, in short turns, so
that others' work counts little and for both alike. Then sets as large as MS1MV2 and WebFace42M, made of records without
images: what opening them takes, cold and kept, what is read, what a host holds, and what an epoch's order takes.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.datasets.index import DatasetIndex
from arcface_faces.images import FLAGS, cv2
from arcface_faces.records.recordio import ImageHeader, pack, pack_record
from arcface_trainer.data.loader import BatchLoader, Sampler
from arcface_trainer.data.order import epoch_order

MS1MV2 = 5_822_653, 85_742
"""Images and identities: 5,908,396 keys."""
WEBFACE42M = 42_474_558, 2_059_906
STRIDE = 6_000
"""Bytes from image to image of the made sets: holes, which no disk stores."""
BATCH, ROUNDS, SECONDS = 128, 30, 0.4
AT_ONCE = 64
"""Images of the bare loop between two looks at the clock."""
FULL, WINDOW = None, 65_536
BAR = 0.8
"""Share of the bare loop that batches without augmentation are to reach."""


def main() -> None:
    if sys.argv[1:2] == ["--open"]:
        opened(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--map"]:
        mapped(Path(sys.argv[2]) / "index")
    elif sys.argv[1:2] == ["--order"]:
        ordered(int(sys.argv[2]), int(sys.argv[3]) or None)
    else:
        if len(sys.argv) > 1:
            loading(Path(sys.argv[1]))
        opening()
        for size in (MS1MV2[0], WEBFACE42M[0]):
            for window in (0, WINDOW):
                alone("--order", size, window)


def loading(folder: Path) -> None:
    """Batches of one decoding thread on one core, beside the bare loop on it."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    faces = open_dataset(folder)
    encoded = [np.frombuffer(faces.image_bytes(index), np.uint8) for index in range(min(4096, len(faces.labels)))]
    for augmentation in ("none", "flip", "strong"):
        bare, rates = [decode_rate(encoded)], []
        for _ in range(ROUNDS):
            rates.append(batch_rate(BatchLoader(faces, Sampler(len(faces.labels), BATCH, 0), augmentation, 1)))
            bare.append(decode_rate(encoded))
        ratios = np.array(rates) / [np.mean(around) for around in pairwise(bare)]
        bar = f", the bar is {BAR}" if augmentation == "none" else ""
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        print(
            f"augmentation {augmentation:6s}: batches at {np.median(rates):6.0f} images/s of a core, bare loop at"
            f" {np.median(bare):6.0f}: {median:.3f} of it{bar} (quartiles of {ROUNDS} turns {low:.3f} to {high:.3f})",
            flush=True,
        )


def decode_rate(encoded: list[np.ndarray]) -> float:
    began, count = time.process_time(), 0
    while time.process_time() - began < SECONDS / 2:
        for _ in range(AT_ONCE):
            cv2.imdecode(encoded[count % len(encoded)], FLAGS)
            count += 1
    return count / (time.process_time() - began)


def batch_rate(loader: BatchLoader) -> float:
    loader.sampler.batch(0)
    began, step = time.process_time(), 0
    with loader:
        while (passed := time.process_time() - began) < SECONDS:
            loader.take(step)
            step += 1
        made = step + sum(ahead.done() for ahead in loader._ahead)
    return made * BATCH / passed


def opening() -> None:
    """Sets of MS1MV2's size in the classic layout, by processes that begin anew."""
    with tempfile.TemporaryDirectory() as folder:
        make_set(Path(folder), *MS1MV2)
        for _ in range(3):
            (Path(folder) / "arcface-index-1").unlink(missing_ok=True)
            alone("--open", folder)
            alone("--open", folder)
    with tempfile.TemporaryDirectory() as folder:
        make_index(Path(folder) / "index", *WEBFACE42M)
        alone("--map", folder)


def make_set(folder: Path, images: int, identities: int) -> None:
    """A head where each image lies, then identity records and key 0 as the classic builder writes them."""
    bounds = np.linspace(1, images + 1, identities + 1).astype(int)
    owner = np.repeat(np.arange(identities), np.diff(bounds))
    with (folder / "train.rec").open("wb") as records, (folder / "train.idx").open("w") as index:
        sampled = {0, images - 1, *(bounds[:-1] - 1).tolist(), *(bounds[1:] - 2).tolist()}
        for image in sorted(sampled):
            records.seek(image * STRIDE)
            records.write(pack_record(pack(ImageHeader(0, (float(owner[image]),), image + 1), b"image")))
        index.writelines(f"{image + 1}\t{image * STRIDE}\n" for image in range(images))
        records.seek(images * STRIDE)
        for key, span in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True), start=images + 1):
            index.write(f"{key}\t{records.tell()}\n")
            records.write(pack_record(pack(ImageHeader(2, tuple(map(float, span)), key), b"")))
        index.write(f"0\t{records.tell()}\n")
        records.write(pack_record(pack(ImageHeader(2, (images + 1.0, images + identities + 1.0), 0), b"")))
    (folder / "property").write_text(f"{identities},112,112\n")


def make_index(path: Path, images: int, identities: int) -> None:
    """An index as a set of so many records leaves it."""
    number = np.arange(images)
    columns = {
        "keys": number,
        "offsets": number * STRIDE,
        "spans": np.full(images, STRIDE, np.uint32),
        "labels": (number * identities // images).astype(np.int32),
        "identities": np.arange(identities, dtype=np.int32),
    }
    with path.open("wb") as file:
        DatasetIndex(columns, identities, 0, "0" * 64).write(file, "made")


def mapped(path: Path) -> None:
    began, worked = time.perf_counter(), time.process_time()
    index = DatasetIndex.map(path, "made")
    assert index is not None
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    print(
        f"{len(index.columns['labels'])} images mapped in {seconds:.2f} s (of a processor {worked:.2f} s);"
        f" shared by the host {path.stat().st_size / 1e6:.0f} MB, this process {own_megabytes():.0f} MB of its own",
        flush=True,
    )


def opened(folder: Path) -> None:
    read, began, worked = bytes_read(), time.perf_counter(), time.process_time()
    faces = open_dataset(folder)
    seconds, worked, read = time.perf_counter() - began, time.process_time() - worked, bytes_read() - read
    index = folder / "arcface-index-1"
    print(
        f"{len(faces.labels)} images of {faces.class_count} identities opened in {seconds:.2f} s"
        f" (of a processor {worked:.2f} s), {read / 2**20:.1f} MiB read by calls of {faces.file.size / 2**30:.0f} GiB;"
        f" shared by the host {index.stat().st_size / 1e6:.0f} MB, this process {own_megabytes():.0f} MB of its own"
        f" (at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB with what it maps)",
        flush=True,
    )


def ordered(size: int, window: int | None) -> None:
    before, began, worked = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    order = epoch_order(size, 0, 0, window)
    print(
        f"order of {size} images, {'in windows of ' + str(window) if window else 'full'}:"
        f" {time.perf_counter() - began:.1f} s (of a processor {time.process_time() - worked:.1f} s),"
        f" kept {order.nbytes / 1e6:.0f} MB,"
        f" at most {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3:.0f} MB",
        flush=True,
    )


def bytes_read() -> int:
    """Bytes that read calls have returned to this process; what it maps is not among them."""
    return int(Path("/proc/self/io").read_text().split()[1])


def own_megabytes() -> float:
    """Memory that is no file's: pages of a file that has just been written count as private, too."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1e3


def alone(*arguments: object) -> None:
    subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
