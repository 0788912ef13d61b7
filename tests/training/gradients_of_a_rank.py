"""Run by every rank of test_ranks_agree: one step on this rank's share of a fixed joined batch, then one to be skipped.

Then a step of another network with its images in one, two and four parts, with all classes and with a share of them,
and one that trains its head alone.

Each of twelve blocks of the joined batch shows the same images under other labels. Whatever share of the blocks a rank
takes, its batch normalisation sees the same statistics, so ranks and joined batch must agree exactly, not only on
average. Without decay and with a clip that is never reached, momentum after the first step is the gradient.
"""

import os
import sys
from dataclasses import astuple
from pathlib import Path

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, float32, nn

from arcface_api.resource.spec import LossSpec, ModelSpec, OptimizerSpec
from arcface_faces.checkpoint import class_range
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.classifier import Classifier
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.step.frozen_step import FrozenStep
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.train_step import TrainStep
from arcface_trainer.step.votes import StepVotes
from support import small_step
from support.waiting import wait_until

CLASSES, EMBEDDING, BLOCK, BLOCKS = 11, 16, 4, 12
LOSS_SCALE = 1.0
"""Keeps gradients below 1, where float32 can agree to 1e-5 whatever the order of its sums."""
BUCKET_BYTES = 20_000
"""Several messages, as a large network has them."""
NEVER_CLIPPED = 1e9
ACCUMULATIONS = (1, 2, 4)
FROZEN_ACCUMULATION = 4


def main(folder: Path) -> None:
    size, rank = int(os.environ["MS_WORKER_NUM"]), int(os.environ["MS_NODE_ID"])
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    if size > 1:
        mindspore.communication.init()
    world = World(size, rank)
    random = np.random.default_rng(7)
    block = random.integers(0, 256, (BLOCK, 3, 112, 112)).astype(np.uint8)
    images = np.concatenate([block] * BLOCKS)
    labels = random.integers(0, CLASSES, BLOCKS * BLOCK).astype(np.int32)
    centers = random.normal(size=(CLASSES, EMBEDDING)).astype(np.float32)

    step = make_step(world, centers)
    share = slice(rank * len(labels) // size, (rank + 1) * len(labels) // size)
    votes = StepVotes(stop=rank == size - 1, saving_bits=1, keep=rank == 0)
    result = step.launch(images[share], labels[share], rate=0.1, votes=votes, wait=1.5 + rank).result()
    state = TrainingState(step)
    numbers = {"loss": result.loss, "votes": [*astuple(result.votes)], "waits": result.waits}
    momentum = {f"backbone {name}": array for name, array in state.momentum().items()}
    numbers |= {"buckets": len(step.gradient_step.buckets), "is_applied": result.is_applied}
    np.savez(folder / f"{size}-{rank}.npz", **numbers, **momentum, centers=state.head()["momentum"])

    damaged = step.gradient_step.classifier.centers
    sound = damaged.asnumpy().copy()
    if rank == size - 1:
        damaged.set_data(Tensor(np.full(damaged.shape, np.nan, np.float32)))
    before = everything(state, world)
    result = step.launch(images[share], labels[share], rate=0.1).result()
    after = everything(state, world)
    changed = [name for name in before if before[name].tobytes() != after[name].tobytes()]
    np.savez(folder / f"{size}-{rank}-skipped.npz", is_applied=result.is_applied, changed=changed)
    if rank == size - 1:
        damaged.set_data(Tensor(sound))
    launch = lambda: step.launch(images[share], labels[share], rate=0.1).result()  # noqa: E731
    np.savez(folder / f"{size}-{rank}-named.npz", **spoiled_on_the_last_rank(step, world, launch))
    for accumulation in ACCUMULATIONS:
        np.savez(folder / f"{size}-{rank}-parts-{accumulation}.npz", **in_parts(world, accumulation))
    for accumulation in ACCUMULATIONS:
        np.savez(folder / f"{size}-{rank}-sampled-{accumulation}.npz", **sampled_in_parts(world, accumulation))
    np.savez(folder / f"{size}-{rank}-frozen.npz", **frozen(world))
    leave_together(folder, size, rank)


def frozen(world: World) -> dict[str, np.ndarray]:
    """Loss and gradients of the same network and batch where only the head learns; rows that fill up are among them."""
    split = small_step.split_for(world.size, FROZEN_ACCUMULATION)
    whole = small_step.small_step(world, split.micro_batches)
    result = small_step.launch_share(FrozenStep(whole), split, world.rank, *small_step.small_batch())
    return {"loss": result.loss, "is_applied": result.is_applied, **small_step.gradients(whole)}


def in_parts(world: World, accumulation: int) -> dict[str, np.ndarray]:
    """Loss and gradients of a small network for a joined batch that neither ranks nor micro-batches divide."""
    split = small_step.split_for(world.size, accumulation)
    step = small_step.small_step(world, split.micro_batches)
    result = small_step.launch_share(step, split, world.rank, *small_step.small_batch())
    return {"loss": result.loss, "micro_batches": split.micro_batches, **small_step.gradients(step)}


def sampled_in_parts(world: World, accumulation: int) -> dict[str, np.ndarray]:
    """The same of a step that draws a share of many classes, which its images show some of on every rank."""
    split = small_step.split_for(world.size, accumulation)
    step = small_step.small_step(world, split.micro_batches, is_sampled=True)
    images, labels = small_step.small_batch()
    result = small_step.launch_share(step, split, world.rank, images, spread(labels))
    return {"loss": result.loss, **small_step.gradients(step)}


def spread(labels: np.ndarray) -> np.ndarray:
    return labels * (small_step.MANY // small_step.CLASSES)


class Spoiled(nn.Cell):
    """A classifier whose results are multiplied by numbers: parameters, so that one graph does for all of them."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier, self.centers = classifier, classifier.centers
        self.loss, self.backward, self.gradient = (
            Parameter(Tensor(1.0, float32), name=name, requires_grad=False)
            for name in ("loss_factor", "backward_factor", "gradient_factor")
        )

    def construct(self, embeddings, labels):
        loss, d_embeddings, d_centers = self.classifier(embeddings, labels)
        return loss * self.loss, d_embeddings * self.backward, d_centers * self.gradient


def spoiled_on_the_last_rank(step, world: World, launch) -> dict[str, np.ndarray]:
    """What all ranks say of a step that is spoiled on the last one, and which tensors it has changed after all."""
    state, head = TrainingState(step), step.gradient_step.classifier
    places = {
        "loss": head.loss,
        "backward": head.backward,
        "centers": head.gradient,
        "statistics": step.statistics.kept,
    }
    found = {}
    for name, place in places.items():
        sound, before = place.asnumpy().copy(), everything(state, world)
        if world.rank == world.size - 1:
            place.set_data(Tensor(np.full_like(sound, np.nan)))
        result = launch()
        if world.rank == world.size - 1:
            place.set_data(Tensor(sound))
        after = everything(state, world)
        changed = [each for each in before if before[each].tobytes() != after[each].tobytes()]
        found |= {
            f"{name} fault": str(result.fault),
            f"{name} is_applied": result.is_applied,
            f"{name} changed": changed,
        }
    return found | {"at last": launch().is_applied}


def make_step(world: World, centers: np.ndarray) -> TrainStep:
    mindspore.set_seed(1)
    backbone = build_backbone(ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=EMBEDDING))
    classes = class_range(CLASSES, world.size, world.rank)
    own = centers[classes.start : classes.start + classes.size]
    classifier = Spoiled(Classifier(LossSpec(scale=LOSS_SCALE), classes, own, world.collectives))
    gradient_step = GradientStep(backbone, classifier, world.collectives, BUCKET_BYTES)
    return TrainStep(gradient_step, OptimizerSpec(learning_rate=0.1, weight_decay=0.0), NEVER_CLIPPED)


def everything(state: TrainingState, world: World) -> dict[str, np.ndarray]:
    """Weights, statistics and momentum of this rank."""
    momentum = {f"momentum of {name}": array for name, array in state.momentum().items()}
    return state.backbone(world) | momentum | {f"head {name}": array for name, array in state.head().items()}


def leave_together(folder: Path, size: int, rank: int) -> None:
    """Leave when no rank needs another one any more.

    Not through a last collective, whose messages to slower ranks die with the process that leaves first; and not
    through MindSpore's teardown, in which ranks that leave at different moments may kill each other.
    """
    (folder / f"{size}-{rank}.done").touch()
    wait_until(lambda: len(list(folder.glob(f"{size}-*.done"))) == size, seconds=60)
    os._exit(0)


main(Path(sys.argv[1]))
