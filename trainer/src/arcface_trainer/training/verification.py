"""Verification during the training: every rank embeds its share of the pairs, all of them know the accuracy.

Only distances cross ranks, 8 bytes a pair.
"""

from dataclasses import dataclass

import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import Diverged
from arcface_api.resource.status import BestCheckpoint, Verification
from arcface_faces.checkpoint.manifest import CheckpointManifest
from arcface_faces.checkpoint.reader import folder_name
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.data.sampler import Sampler
from arcface_trainer.distributed.world import World
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.network.inference import Network, as_function
from arcface_trainer.network.parameters import assign, named_parameters
from arcface_trainer.training.verification_pairs import SharedPairs, open_shared

MOST_SHARE = 0.02
"""Of the computation between two verifications that one of them may take."""
FORWARDS_A_IMAGE = 3
"""Forward passes that training on an image costs: the backward pass computes two gradients a layer."""
FORWARDS_A_PAIR = 4
"""Two images and their mirrored views."""


@dataclass(slots=True)
class Verifier:
    """Judges the network at the ends of epochs; all ranks call it together and come to the same answers."""

    sets: SharedPairs
    every_steps: int
    total_steps: int
    backbone: nn.Cell
    """A second network, which takes the weights that a checkpoint would hold."""
    network: Network
    """The same for inference."""
    state: TrainingState
    world: World
    last: Verification | None = None
    best: Verification | None = None

    def resume(self, manifest: CheckpointManifest) -> None:
        """Go on from what a checkpoint tells."""
        self.last = manifest.verification
        self.best = manifest.best

    def is_due(self, step: int) -> bool:
        """Whether the network after this step is to be judged and has not been."""
        is_end = step % self.every_steps == 0 or step == self.total_steps
        return step > 0 and is_end and (self.last is None or self.last.step < step)

    def verify(self, step: int, epoch: int) -> Verification:
        """Judge the network after `step`; Diverged where it gives no numbers."""
        assign(named_parameters(self.backbone), self.state.backbone(self.world), "the network in training")
        own = self.sets.distances(self._embed)
        results = self.sets.results(self.world.gather_doubles(own))
        self.last = Verification(epoch=epoch, step=step, results=results)
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
    looked_at = [[(result.dataset, result.pairs) for result in each.results] for each in (new, old)]
    return looked_at[0] != looked_at[1] or new.mean_accuracy > old.mean_accuracy


def build_verifier(
    config: RunConfig, sampler: Sampler, total_steps: int, state: TrainingState, world: World
) -> Verifier | None:
    """The verifier of a job that asks for one.

    Raises:
        InvalidInput: where a set is missing or damaged.
    """
    evaluation = config.evaluation
    if evaluation is None or evaluation.every_epochs is None or not evaluation.sets:
        return None
    every_steps = evaluation.every_epochs * sampler.steps_per_epoch
    most = most_pairs(every_steps * sampler.global_batch_size)
    sets = open_shared(evaluation, most, world.size, world.rank, config.training.batch_size)
    backbone = build_backbone(config.model)
    return Verifier(sets, every_steps, total_steps, backbone, as_function(backbone), state, world)


def most_pairs(images: int) -> int:
    """Pairs that may be looked at after training on so many images."""
    return int(MOST_SHARE * FORWARDS_A_IMAGE * images / FORWARDS_A_PAIR)
