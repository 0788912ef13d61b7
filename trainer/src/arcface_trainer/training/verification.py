"""Verification during the training: every rank embeds its shard of the pairs, all of them know the accuracy.

Only distances cross ranks, 8 bytes a pair.
"""

from dataclasses import dataclass

import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.errors import Diverged
from arcface_api.resource.status import BestCheckpoint, Verification
from arcface_faces.checkpoint import CheckpointManifest, folder_name
from arcface_faces.embedding.embedder import Network
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.network.inference import as_function
from arcface_trainer.network.parameters import assign, named_parameters
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.training.pair_shard import PairShard, open_pair_shard

MOST_SHARE = 0.02
"""Of the computation between two verifications that one of them may take."""
FORWARDS_AN_IMAGE = 3
"""Forward passes that training on an image costs: the backward pass computes two gradients a layer."""
FORWARDS_A_PAIR = 4
"""Two images and their mirrored views."""


@dataclass(slots=True)
class Verifier:
    """Judges the network at the ends of epochs; all ranks call it together and come to the same answers."""

    pairs: PairShard
    every_steps: int
    plan: TrainingPlan
    backbone: nn.Cell
    """A second network, which takes the weights that a checkpoint would hold."""
    network: Network
    """The same for inference."""
    state: TrainingState
    world: World
    last: Verification | None = None
    best: Verification | None = None

    def resume(self, manifest: CheckpointManifest) -> None:
        """Go on from what a checkpoint knows."""
        self.last = manifest.verification
        self.best = manifest.best

    def is_due(self, step: int) -> bool:
        """Whether the network after this step is to be judged and has not been."""
        is_end = step % self.every_steps == 0 or step == self.plan.total_steps
        return step > 0 and is_end and (self.last is None or self.last.step < step)

    def verify(self, step: int) -> Verification:
        """Judge the network after `step`; Diverged where it gives no numbers."""
        assign(named_parameters(self.backbone), self.state.backbone(self.world), "the network in training")
        own = self.pairs.distances(self._embed)
        results = self.pairs.results(self.world.all_gather_doubles(own))
        self.last = Verification(epoch=self.plan.epoch(step), step=step, results=results)
        if self.best is None or is_better(self.last, self.best):
            self.best = self.last
        return self.last

    def _embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        embeddings = self.network(images)
        if not np.isfinite(embeddings).all():
            raise Diverged(
                "embeddings of the verification are not finite though the training's are: the averaged statistics of "
                "the batch normalisations have overflowed; lower training.optimizer.learningRate"
            )
        return embeddings

    @property
    def best_checkpoint(self) -> BestCheckpoint | None:
        """The checkpoint that is kept for its accuracy."""
        if self.best is None:
            return None
        return BestCheckpoint(path=folder_name(self.best.step), step=self.best.step, accuracy=self.best.mean_accuracy)


def is_better(new: Verification, old: Verification) -> bool:
    """Whether the mean accuracy has risen; figures on other pairs cannot be compared and give way."""
    pairs = [[(result.dataset, result.pairs) for result in each.results] for each in (new, old)]
    return pairs[0] != pairs[1] or new.mean_accuracy > old.mean_accuracy


def build_verifier(
    evaluation: RunEvaluation | None, plan: TrainingPlan, batch_size: int, state: TrainingState, world: World
) -> Verifier | None:
    """The verifier of a job that asks for one.

    Args:
        evaluation: the sets, and how often.
        plan: the training.
        batch_size: images that the network takes at once.
        state: the network in training.
        world: all ranks call together.

    Raises:
        InvalidInput: where a set is missing or damaged.
    """
    if evaluation is None or evaluation.every_epochs is None or not evaluation.sets:
        return None
    every_steps = evaluation.every_epochs * plan.schedule.steps_per_epoch
    most = most_pairs(every_steps * plan.total_batch_size)
    pairs = open_pair_shard(evaluation, most, world.size, world.rank, batch_size)
    backbone = build_backbone(plan.model)
    return Verifier(pairs, every_steps, plan, backbone, as_function(backbone), state, world)


def most_pairs(images: int) -> int:
    """Pairs that may be looked at after training on so many images."""
    return int(MOST_SHARE * FORWARDS_AN_IMAGE * images / FORWARDS_A_PAIR)
