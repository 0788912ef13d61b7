"""Plans of trainings that nobody runs."""

from typing import Any

from arcface_api.resource.spec import LossSpec, ModelSpec, ScheduleSpec
from arcface_trainer.plan import Schedule, TrainingPlan


def make_plan(steps_per_epoch: int = 10, epochs: int = 10, **facts: Any) -> TrainingPlan:
    """A plan of four images a step on one rank; `facts` differ from what is usual."""
    usual = {
        "job": "job",
        "spec_hash": "a" * 64,
        "model": ModelSpec(),
        "loss": LossSpec(),
        "seed": 0,
        "world_size": 1,
        "image_count": 50,
        "class_count": 10,
        "data_fingerprint": "d" * 64,
        "content_fingerprint": "d" * 64,
        "total_batch_size": 4,
        "schedule": Schedule(ScheduleSpec(), 0.1, steps_per_epoch, epochs),
    }
    return TrainingPlan(**(usual | facts))
