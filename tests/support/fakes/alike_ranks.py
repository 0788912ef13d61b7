"""Ranks that all have what the first one has: its collectives without any peers."""

import mindspore
import numpy as np
from mindspore import Tensor, ops

from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_faces.checkpoint import class_range
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.head.sampling import ClassDraw, SampledClassifier
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.step.gradients import GradientStep
from arcface_trainer.step.votes import NO_VOTES, encode_votes


class AlikeCollectives(Collectives):
    """Collectives of rank 0, usable inside graphs."""

    def __init__(self, world_size: int) -> None:
        super().__init__(1, 0)
        self.world_size, self.is_alone = world_size, world_size == 1

    def gather(self, x: Tensor) -> Tensor:
        return ops.tile(x, (self.world_size, 1))

    def reduce(self, x: Tensor) -> Tensor:
        return x * self.world_size


class RecordedCollectives(AlikeCollectives):
    """Writes every message down; a graph would not run the recording, so that no graph may be made."""

    def __init__(self, world_size: int) -> None:
        super().__init__(world_size)
        self.messages: list[tuple[str, int, int]] = []

    def gather(self, x: Tensor) -> Tensor:
        gathered = super().gather(x)
        self.messages.append(("allGather", x.nbytes, gathered.nbytes))
        return gathered

    def reduce(self, x: Tensor) -> Tensor:
        self.messages.append(("allReduce", x.nbytes, x.nbytes))
        return super().reduce(x)


def record_step(spec: ArcFaceTrainingJobSpec, class_count: int) -> list[tuple[str, int, int]]:
    """Operation, bytes handed over and bytes received of all messages of a step, in their order."""
    ranks, batch = spec.workers.world_size, spec.training.batch_size
    found, classes = RecordedCollectives(ranks), class_range(class_count, ranks, 0)
    mode = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    try:
        whole = Classifier(spec.loss, classes, initial_centers(classes, spec.model.embedding_size, 0), found)
        draw = ClassDraw(0, classes, spec.loss.sample_rate)
        classifier = whole if draw.rate == 1 else SampledClassifier(whole, draw, spec.total_batch_size)
        gradient_step = GradientStep(build_backbone(spec.model), classifier, found)
        gradient_step.set_train()
        images, labels = np.zeros((batch, 3, 112, 112), np.uint8), np.arange(batch, dtype=np.int32) % class_count
        if isinstance(classifier, SampledClassifier):
            classifier.choose(labels, step=0)
        gradient_step(Tensor(images), Tensor(labels), encode_votes(NO_VOTES, 0.0, ranks, 0))
    finally:
        mindspore.set_context(mode=mode)
    return found.messages
