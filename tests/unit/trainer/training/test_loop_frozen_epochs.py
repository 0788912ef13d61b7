"""Which graph a step takes while the backbone is frozen, and after it."""

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.resource.spec import InitFromSpec
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.saving import Saver
from arcface_trainer.checkpoint.state import Verifications
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from arcface_trainer.heartbeat import Phase
from arcface_trainer.metrics import TrainMetrics
from arcface_trainer.training.loop import TrainingLoop
from support.builders.saved_states import PLAN
from support.builders.training_plan import make_plan
from support.fakes.no_images import NoImages
from support.fakes.queued_steps import QueuedSteps


class Named:
    """One of two graphs of a device."""

    def __init__(self, device, name, told):
        self.device, self.name, self.told = device, name, told

    def launch(self, *given, **options):
        self.told.append(self.name)
        return self.device.launch(*given, **options)


def test_the_first_epochs_train_the_head_alone_also_where_a_run_goes_on_within_them(tmp_path):
    model = PLAN.model.model_copy(update={"init_from": InitFromSpec(claim_name="models"), "freeze_epochs": 2})
    plan = make_plan(3, 4, class_count=PLAN.class_count, model=model)
    settings = RunCheckpoint(directory=str(tmp_path), every_steps=10**6, keep_last=9)

    def graphs(resumed_step):
        device, told = QueuedSteps(World(1, 0)), []
        saver = Saver(CheckpointWriter(settings, plan, World(1, 0)))
        saver.writer.prepare()
        loop = TrainingLoop(
            plan,
            0,
            Named(device, "whole", told),
            NoImages(),
            Checkpointing(settings, device.state, saver, Verifications()),
            None,
            bool,
            TrainMetrics(0),
            Named(device, "frozen", told),
        )
        loop.meter.step = resumed_step
        loop.enter = lambda phase, step: phases.append((step, phase))
        loop.run()
        return told

    phases: list[tuple[int, Phase]] = []
    assert graphs(0) == ["frozen"] * 6 + ["whole"] * 6
    phases.clear()
    assert graphs(4) == ["frozen"] * 2 + ["whole"] * 6
    launched = {step: phase for step, phase in phases if phase in {Phase.START, Phase.STEP}}
    assert {step for step, phase in launched.items() if phase is Phase.START} >= {4, 6}
    assert {launched[step] for step in range(7, 12)} == {Phase.STEP}, "the whole step is compiled but once"
