"""What `arcface plan` says of the traffic is what a step hands to its collectives."""

from collections.abc import Iterator

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from arcface_faces.checkpoint import class_range
from arcface_operator.preflight.layers import network_size
from arcface_operator.preflight.traffic import collectives
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.train_step import TrainStep
from support.builders.jobs import make_job

RANKS, BATCH, CLASSES, EMBEDDING = 3, 4, 11, 16
SPEC = make_job(
    model={"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": EMBEDDING},
    workers={"accelerator": "cpu", "replicas": RANKS},
    training={"batchSize": BATCH},
).spec


class RecordedCollectives(nn.Cell):
    """Rank 0 of ranks that all have what it has; a graph would not run the recording, so that no graph is made."""

    def __init__(self) -> None:
        super().__init__()
        self.world_size, self.rank, self.is_alone = RANKS, 0, False
        self.messages: list[tuple[str, int, int]] = []

    def all_gather(self, x: Tensor) -> Tensor:
        gathered = ops.concat([x] * RANKS)
        self.messages.append(("allGather", x.nbytes, gathered.nbytes))
        return gathered

    def all_sum(self, x: Tensor) -> Tensor:
        self.messages.append(("allReduce", x.nbytes, x.nbytes))
        return x * RANKS

    def all_sum_in_order(self, messages: list[Tensor], shared: Tensor) -> tuple[list[Tensor], Tensor]:
        (message,) = messages  # one bucket holds this small network
        both = self.all_sum(ops.concat((message, shared)))
        return [both[: message.size]], both[message.size :]

    def own_block(self, x: Tensor) -> Tensor:
        return x[: x.shape[0] // RANKS]


@pytest.fixture(autouse=True)
def without_graphs() -> Iterator[None]:
    mode = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    yield
    mindspore.set_context(mode=mode)


def test_a_step_exchanges_what_the_plan_says() -> None:
    found, classes = RecordedCollectives(), class_range(CLASSES, RANKS, 0)
    classifier = Classifier(SPEC.loss, classes, initial_centers(classes, EMBEDDING, 0), found)
    gradient_step = GradientStep(build_backbone(SPEC.model), classifier, found)
    train_step = TrainStep(gradient_step, SPEC.training.optimizer, SPEC.training.clip_norm)
    train_step.run(np.zeros((BATCH, 3, 112, 112), np.uint8), np.arange(BATCH, dtype=np.int32), 0.1)
    planned = collectives(SPEC, network_size(SPEC.model))
    assert found.messages == [(each.operation, each.handed_over, each.received) for each in planned]
