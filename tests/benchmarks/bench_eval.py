"""IJB from pictures to embeddings beside the bare network: `python bench_eval.py FACES`.

The LFW tree in IJB's layout, decoded, aligned and embedded in both views, against the same network on pictures that are
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

from arcface_api.spec import ModelSpec
from arcface_evaluator.embedder import Network, embed
from arcface_evaluator.template_files import open_ijb
from arcface_evaluator.template_pictures import TemplatePictures, open_pictures
from arcface_trainer.backbones import build_backbone
from arcface_trainer.inference import as_function

BATCH, ROUNDS = 64, 5
MODELS = {
    "iresnet18, quarter width": ModelSpec(backbone="iresnet18", width=0.25, embedding_size=128),
    "iresnet18, half width": ModelSpec(backbone="iresnet18", width=0.5, embedding_size=128),
}
BATCHES = {"iresnet18, quarter width": 6, "iresnet18, half width": 3}


def main() -> None:
    pictures = open_pictures(open_ijb(Path(sys.argv[1]) / "IJB_release" / "IJBC"))
    decoded = np.stack([pictures.picture(number).transpose(2, 0, 1) for number in range(BATCH)])
    began = time.perf_counter()
    for number in range(len(pictures)):
        pictures.picture(number)
    print(f"decoding and aligning alone: {len(pictures) / (time.perf_counter() - began):.0f} pictures/s in one thread")
    for name, model in MODELS.items():
        network = as_function(build_backbone(model))
        network(decoded)  # compiles
        batches = BATCHES[name]
        bare, whole = [], []
        for _ in range(ROUNDS):
            bare.append(bare_seconds(network, decoded, 2 * batches) / (batches * BATCH))
            whole.append(whole_seconds(network, First(pictures, batches * BATCH)) / (batches * BATCH))
        ratio = statistics.median(one / other for one, other in zip(bare, whole, strict=True))
        print(
            f"{name:26s} bare {1 / statistics.median(bare):7.1f} pictures/s in both views,"
            f" from disk {1 / statistics.median(whole):7.1f}: {ratio:.3f} of it",
            flush=True,
        )


def bare_seconds(network: Network, decoded: np.ndarray, batches: int) -> float:
    began = time.perf_counter()
    for _ in range(batches):
        network(decoded)
    return time.perf_counter() - began


def whole_seconds(network: Network, pictures: "First") -> float:
    began = time.perf_counter()
    embed(pictures, network, BATCH)
    return time.perf_counter() - began


class First:
    """The first pictures of a release."""

    def __init__(self, pictures: TemplatePictures, count: int) -> None:
        self.picture, self.count = pictures.picture, count

    def __len__(self) -> int:
        return self.count


if __name__ == "__main__":
    main()
