"""Run by every rank of test_loop: steps one at a time, each waited for, then the same steps in the training's loop.

The loop saves every few steps, is asked to stop by its last rank alone, and goes on from its own checkpoint.
"""

import os
import sys
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

import mindspore
import numpy as np

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.errors import Stopped
from arcface_api.resource.spec import ModelSpec, TrainingSpec
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.data.loader import Batch
from arcface_trainer.distributed.collectives import World
from arcface_trainer.metrics import TrainMetrics
from arcface_trainer.step.train_step import TrainStep, build_train_step
from arcface_trainer.training.loop import TrainingLoop
from support.builders.training_plan import make_plan
from support.waiting import wait_until

STEPS, EVERY_STEPS, ASKED_AT = 12, 6, 7
BATCH, CLASSES = 6, 11
MODEL = ModelSpec(backbone="iresnet18", width=0.0625, stem_stride=2, embedding_size=16)


class Images:
    """This rank's share of joined batches that are a function of the step."""

    skipped = frozenset()

    def __init__(self, world: World) -> None:
        self.share = slice(world.rank * BATCH // world.size, (world.rank + 1) * BATCH // world.size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def take(self, step: int) -> Batch:
        random = np.random.default_rng(step)
        images = random.integers(0, 256, (BATCH, 3, 112, 112)).astype(np.uint8)
        return Batch(images[self.share], random.integers(0, CLASSES, BATCH).astype(np.int32)[self.share])


class Recording:
    """A training step whose results are written down."""

    def __init__(self, train_step: TrainStep) -> None:
        self.train_step, self.launched = train_step, []

    def launch(self, *given, **named):
        self.launched.append(self.train_step.launch(*given, **named))
        return self.launched[-1]

    def results(self) -> list[tuple]:
        results = [each.result() for each in self.launched]
        return [(each.loss, each.is_applied, *astuple(each.votes)[:2]) for each in results]


def main(folder: Path) -> None:
    size, rank = int(os.environ["MS_WORKER_NUM"]), int(os.environ["MS_NODE_ID"])
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    if size > 1:
        mindspore.communication.init()
    world = World(size, rank)
    plan = make_plan(
        STEPS, 1, model=MODEL, class_count=CLASSES, total_batch_size=BATCH, world_size=size, image_count=BATCH * STEPS
    )
    np.savez(folder / f"{size}-{rank}-awaited.npz", **awaited(plan, world))
    directory = folder / f"checkpoints-{size}"
    first, stopped_at = in_loop(plan, world, directory, lambda done: rank == size - 1 and done + 1 >= ASKED_AT)
    second, ended_at = in_loop(plan, world, directory, lambda _done: False)
    np.savez(folder / f"{size}-{rank}-loop.npz", results=first + second, stopped_at=stopped_at, ended_at=ended_at)
    leave_together(folder, size, rank)


def awaited(plan, world) -> dict[str, np.ndarray]:
    """What the steps find and make of the state, without any lag."""
    step, images = Recording(build_train_step(plan, TrainingSpec(), world)), Images(world)
    state, found = TrainingState(step.train_step), {}
    for number in range(STEPS):
        batch = images.take(number)
        step.launch(batch.images, batch.labels, plan.schedule.rate(number)).result()
        tensors = {f"backbone {name}": array for name, array in state.backbone(world).items()}
        tensors |= {f"momentum {name}": array for name, array in state.momentum().items()}
        tensors |= {f"head {name}": array for name, array in state.head().items()}
        found |= {f"{number + 1} {name}": array for name, array in tensors.items()}
    return found | {"results": step.results()}


def in_loop(plan, world, directory, is_stop_wanted) -> tuple[list[tuple], int]:
    """Results of the steps of one run, and the step that it ended after."""
    step = Recording(build_train_step(plan, TrainingSpec(), world))
    settings = RunCheckpoint(directory=str(directory), every_steps=EVERY_STEPS, keep_last=STEPS)
    checkpointing = Checkpointing.start(settings, TrainingState(step.train_step), plan, world, RankIdentity())
    begun = 0 if checkpointing.resumed is None else checkpointing.resumed.step
    wants = lambda: is_stop_wanted(begun + len(step.launched))  # noqa: E731
    loop = TrainingLoop(plan, world.rank, step, Images(world), checkpointing, None, wants, TrainMetrics(world.rank))
    with suppress(Stopped):
        loop.run()
    assert [record.loss for record in loop.meter.recent] == [result[0] for result in step.results()]
    return step.results(), loop.meter.step


def leave_together(folder: Path, size: int, rank: int) -> None:
    """Leave when no rank needs another one any more, and not through MindSpore's teardown."""
    (folder / f"{size}-{rank}.done").touch()
    wait_until(lambda: len(list(folder.glob(f"{size}-*.done"))) == size, seconds=60)
    os._exit(0)


main(Path(sys.argv[1]))
