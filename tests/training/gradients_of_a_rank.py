"""Run by every rank of test_ranks_agree: one step's loss and gradients on this rank's share of a fixed joined batch.

Each quarter of the joined batch shows the same images under other labels. Whatever share of quarters a rank takes,
its batch normalisation sees the same statistics, so ranks and joined batch must agree exactly, not only on average.
"""

import os
import sys
from pathlib import Path

import mindspore
import numpy as np
from mindspore import Tensor

from arcface_api.resource.spec import LossSpec, ModelSpec
from arcface_faces.checkpoint import class_range
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.classifier import Classifier
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.step import GradientStep
from support.waiting import wait_until

CLASSES, EMBEDDING, QUARTER = 11, 16, 4
LOSS_SCALE = 1.0
"""Keeps gradients below 1, where float32 can agree to 1e-5 whatever the order of its sums."""


def main(folder: Path) -> None:
    size, rank = int(os.environ["MS_WORKER_NUM"]), int(os.environ["MS_NODE_ID"])
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    if size > 1:
        mindspore.communication.init()
    world = World(size, rank)
    random = np.random.default_rng(7)
    quarter = random.integers(0, 256, (QUARTER, 3, 112, 112)).astype(np.uint8)
    images = np.concatenate([quarter] * 4)
    labels = random.integers(0, CLASSES, 4 * QUARTER).astype(np.int32)
    centers = random.normal(size=(CLASSES, EMBEDDING)).astype(np.float32)

    mindspore.set_seed(1)
    backbone = build_backbone(ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=EMBEDDING))
    start, count = class_range(CLASSES, size, rank)
    classifier = Classifier(
        LossSpec(scale=LOSS_SCALE), class_range(CLASSES, size, rank), centers[start : start + count], world.collectives
    )
    step = GradientStep(backbone, classifier, world.collectives)
    step.set_train()
    share = slice(rank * len(labels) // size, (rank + 1) * len(labels) // size)
    waits = [1.5 + rank if number == rank else 0.0 for number in range(size)]
    votes = Tensor([float(rank == size - 1), 0.0, 1.0, *waits], mindspore.float32)
    summary, *gradients, d_centers = step(Tensor(images[share]), Tensor(labels[share]), votes)
    np.savez(
        folder / f"{size}-{rank}.npz",
        summary=summary.asnumpy(),
        centers=d_centers.asnumpy(),
        **{f"backbone{number:03d}": gradient.asnumpy() for number, gradient in enumerate(gradients)},
    )
    leave_together(folder, size, rank)


def leave_together(folder: Path, size: int, rank: int) -> None:
    """Leave when no rank needs another one any more.

    Not through a last collective, whose messages to slower ranks die with the process that leaves first; and not
    through MindSpore's teardown, in which ranks that leave at different moments may kill each other.
    """
    (folder / f"{size}-{rank}.done").touch()
    wait_until(lambda: len(list(folder.glob(f"{size}-*.done"))) == size, seconds=60)
    os._exit(0)


main(Path(sys.argv[1]))
