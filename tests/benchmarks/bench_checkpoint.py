"""What a checkpoint a minute costs the training: `python bench_checkpoint.py [BACKBONE [CLASSES [ROUNDS [SECONDS]]]]`.

One rank of IResNet-100 with an eighth of MS1MV2's classes, which is what rank 0 of the flagship job holds, takes real
steps for a minute (or SECONDS): without a checkpoint, with one that it waits for (as all were before they were written
behind the steps), and with one behind the steps. Two figures a minute: the seconds in which the training stood still,
and the steps that it made, where the writing takes cores from the computing, too. The disk is that of `work/`; what it
has not taken in time is waited for outside of it.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from arcface_trainer.device import compute_environment

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ |= compute_environment(os.environ, "cpu")

import mindspore
import numpy as np

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.resource.spec import ModelSpec, OptimizerSpec, TrainingSpec
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import TrainingState, Verifications
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from arcface_trainer.metrics import TrainMetrics
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.train_step import TrainStep, build_train_step
from arcface_trainer.step.votes import StepVotes
from support.builders.training_plan import make_plan

MINUTE = 60.0
BATCH = 4


class Training:
    """A rank that takes steps and saves."""

    def __init__(self, directory: Path, plan: TrainingPlan) -> None:
        world, self.metrics = World(1, 0), TrainMetrics(0)
        self.train_step: TrainStep = build_train_step(plan, TrainingSpec(optimizer=OptimizerSpec()), world)
        settings = RunCheckpoint(directory=str(directory), every_steps=10**9, keep_last=1)
        self.saver = Saver(CheckpointWriter(settings, plan, world))
        self.saver.writer.prepare()
        self.state = TrainingState(self.train_step)
        self.checkpointing = Checkpointing(settings, self.state, self.saver, Verifications())
        random = np.random.default_rng(0)
        self.images = random.integers(0, 256, (BATCH, 3, 112, 112)).astype(np.uint8)
        self.labels = random.integers(0, plan.class_count, BATCH).astype(np.int32)
        self.step = 0

    def train(self, begin: Callable[[], None], seconds: float) -> tuple[int, float]:
        """Steps of a time that begins with a save, and the seconds that they stood still for it."""
        began, first, stood_still = time.monotonic(), self.step, 0.0
        while time.monotonic() - began < seconds:
            self.train_step.launch(self.images, self.labels, 1e-4).result()
            self.step += 1
            stepped = time.monotonic()
            if self.step == first + 1:
                begin()
            else:
                self.go_on(save=False)
            stood_still += time.monotonic() - stepped
        self.saver.finish()
        return self.step - first, stood_still

    def go_on(self, *, save: bool) -> None:
        self.checkpointing.after_step(self.step, StepVotes(save=save, saving_bits=self.saver.bit), self.metrics)

    def save_and_wait(self) -> None:
        self.saver.begin(self.saver.writer.snapshot(self.state, self.step, Verifications()))
        result = self.saver.finish()
        if result is None or result.failure is not None:
            raise SystemExit(f"not saved: {result}")

    def save_behind(self) -> None:
        self.go_on(save=True)

    def save_nothing(self) -> None:
        self.go_on(save=False)


def main(backbone: str = "iresnet100", classes: str = "10718", rounds: str = "2", seconds: str = "60") -> None:
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    plan = make_plan(10**6, 1, model=ModelSpec(backbone=backbone), class_count=int(classes), total_batch_size=BATCH)
    work = Path(__file__).resolve().parents[2] / "work"
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        training = Training(Path(folder), plan)
        training.train(training.save_behind, 0.1)  # compiles, and writes once
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
        print(f"{backbone}, {classes} classes, {size / 1e6:.0f} MB a checkpoint, batches of {BATCH}, one rank on a CPU")
        ways = (training.save_nothing, training.save_and_wait, training.save_behind)
        results = [[training.train(way, float(seconds)) for way in ways] for _ in range(int(rounds))]
    for number, title in enumerate(("none", "waited for", "behind the steps")):
        steps, still = zip(*(row[number] for row in results), strict=True)
        shares = ", ".join(f"{100 * each / MINUTE:.2f} %" for each in still)
        print(f"{title:18} stood still {statistics.mean(still):6.2f} s of a minute ({shares}); steps {steps}")


main(*sys.argv[1:])
