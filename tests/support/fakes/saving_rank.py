"""A rank that does nothing but save."""

from dataclasses import replace

from prometheus_client import generate_latest

from arcface_api.contract.run_config import RunCheckpoint
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import Verifications
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from arcface_trainer.metrics import TrainMetrics
from arcface_trainer.step.votes import NO_VOTES, StepVotes
from support.builders.saved_states import PLAN, ArrayState
from support.fakes.disks import Disk
from support.waiting import wait_until

EVERY = 20


class Training:
    """A rank alone, whose steps are nothing but their ends."""

    def __init__(self, directory, disk, **settings):
        usual = {"directory": str(directory), "path": "runs/7", "every_steps": EVERY, "keep_last": 5}
        self.directory, self.disk, self.metrics = directory, disk, TrainMetrics(0)
        run = RunCheckpoint(**(usual | settings))
        writer = CheckpointWriter(run, PLAN, World(1, 0), write_file=disk)
        writer.prepare()
        self.state = ArrayState()
        self.checkpointing = Checkpointing(run, self.state, Saver(writer), Verifications())
        self.step = 0
        self.in_flight = NO_VOTES

    def train(self, steps=1, *, stop=False):
        for _ in range(steps):
            self.step += 1
            votes = replace(self.in_flight, stop=stop)
            run = self.checkpointing
            self.in_flight = StepVotes(False, run.is_overdue(), run.saver.bit, run.is_copy_due())
            if not self.checkpointing.acts_after(self.step, votes):
                self.state.backbone = _refuse
            self.checkpointing.after_step(self.step, votes, self.metrics)
            self.state.__dict__.pop("backbone", None)

    def let_and_train_until_saved(self):
        """In few steps, however slow the disk is: further saves become due by their number."""
        if isinstance(self.disk, Disk):
            self.disk.let.set()
        saver = self.checkpointing.saver
        while saver.is_busy:
            wait_until(saver._stage.work.done)
            self.train()

    @property
    def saved(self):
        return [int(path.name[5:]) for path in sorted(self.directory.glob("step-*"))]

    def metric(self, name):
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name + "{")), None)


def _refuse(_world):
    raise AssertionError("the state is copied with a step in flight")
