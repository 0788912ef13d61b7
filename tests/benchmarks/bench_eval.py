"""IJB from images to embeddings beside the bare network: `python bench_eval.py FACES`.

The LFW tree in IJB's layout, decoded, aligned and embedded in both views, against the same network on images that are
in memory already, on the same cores, in turns. A small network is the hard case: nothing hides the decoding.
"""

import os

# Read when MindSpore is loaded.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "3")

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from arcface_api.resource.spec import ModelSpec
from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.sets.release_images import ReleaseImages, open_images
from arcface_faces.embedding.embedder import Network, embed
from arcface_trainer.network.backbones import as_function, build_backbone

BATCH, ROUNDS = 64, 5
MODELS = {
    "iresnet18, quarter width": ModelSpec(backbone="iresnet18", width=0.25, embedding_size=128),
    "iresnet18, half width": ModelSpec(backbone="iresnet18", width=0.5, embedding_size=128),
}
BATCHES = {"iresnet18, quarter width": 6, "iresnet18, half width": 3}


def main() -> None:
    images = open_images(open_ijb(Path(sys.argv[1]) / "IJB_release" / "IJBC"))
    decoded = np.stack([images.image(number).transpose(2, 0, 1) for number in range(BATCH)])
    began = time.perf_counter()
    for number in range(len(images)):
        images.image(number)
    print(f"decoding and aligning alone: {len(images) / (time.perf_counter() - began):.0f} images/s in one thread")
    for name, model in MODELS.items():
        network = as_function(build_backbone(model))
        network(decoded)  # compiles
        batches = BATCHES[name]
        bare, whole = [], []
        for _ in range(ROUNDS):
            bare.append(bare_seconds(network, decoded, 2 * batches) / (batches * BATCH))
            whole.append(whole_seconds(network, First(images, batches * BATCH)) / (batches * BATCH))
        ratio = statistics.median(one / other for one, other in zip(bare, whole, strict=True))
        print(
            f"{name:26s} bare {1 / statistics.median(bare):7.1f} images/s in both views,"
            f" from disk {1 / statistics.median(whole):7.1f}: {ratio:.3f} of it",
            flush=True,
        )


def bare_seconds(network: Network, decoded: np.ndarray, batches: int) -> float:
    began = time.perf_counter()
    for _ in range(batches):
        network(decoded)
    return time.perf_counter() - began


def whole_seconds(network: Network, images: "First") -> float:
    began = time.perf_counter()
    embed(images, network, BATCH)
    return time.perf_counter() - began


class First:
    """The first images of a release."""

    def __init__(self, images: ReleaseImages, count: int) -> None:
        self.image, self.count = images.image, count

    def __len__(self) -> int:
        return self.count


if __name__ == "__main__":
    main()
