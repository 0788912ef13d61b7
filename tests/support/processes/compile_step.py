"""Run by `step_kernels`: compiles network and head alone, then the whole step: `compile_step.py MODEL BATCH CLASSES`.

MODEL is the job's `model` as JSON. What it leaves in its folder says how many tensors the step keeps.
"""

import json
import sys
from pathlib import Path

import mindspore
import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops

from arcface_api.resource.spec import ModelSpec, TrainingSpec
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network.backbones import preprocessed
from arcface_trainer.step.train_step import build_train_step
from support.builders.training_plan import make_plan

TENSORS = "tensors.json"


class ForwardAndBackward(nn.Cell):
    """Loss and every gradient of network and head, with which nothing is done."""

    def __init__(self, backbone, classifier):
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.weights = ParameterTuple(backbone.trainable_params())

    def construct(self, images, labels):
        embeddings, backward = ops.vjp(self.backbone, preprocessed(images), weights=self.weights)
        loss, d_embeddings, d_centers = self.classifier(embeddings, labels)
        _, gradients = backward(d_embeddings)
        return loss, gradients, d_centers


def main(model: str, batch: str, classes: str) -> None:
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    plan = make_plan(model=ModelSpec.model_validate_json(model), class_count=int(classes), total_batch_size=int(batch))
    images = np.zeros((int(batch), 3, 112, 112), np.uint8)
    labels = np.arange(int(batch), dtype=np.int32) % int(classes)
    other = build_train_step(plan, TrainingSpec(), World(1, 0)).gradient_step
    alone = ForwardAndBackward(other.backbone, other.classifier)
    alone.set_train()
    alone(Tensor(images), Tensor(labels))[0].asnumpy()
    step = build_train_step(plan, TrainingSpec(), World(1, 0))
    step.launch(images, labels, rate=0.1).result()
    kept = {"weights": len(step.gradient_step.weights) + 1, "statistics": len(step.statistics.names)}
    Path(TENSORS).write_text(json.dumps(kept))


main(*sys.argv[1:])
