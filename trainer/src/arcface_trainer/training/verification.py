"""Verification during the training: every rank embeds its shard of the pairs, all of them know the accuracy.

Only distances cross ranks, 8 bytes a pair, and the time that each rank took for its own. Nowhere else does a rank
compute by itself: within a step, which is one graph, no host can tell its device's work from its waiting for others.
"""

import time
from dataclasses import dataclass

import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from arcface_api.contract.run_config import RunEvaluation
from arcface_api.resource.status import PairResult, Verification
from arcface_faces.embedding.embedder import Network, embed
from arcface_faces.images import Image
from arcface_faces.pairs.pair_set import PairSet, check_images, open_sets, set_files
from arcface_faces.pairs.protocol import FOLDS, fold_accuracy, squared_distances
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.state import TrainingState, Verifications
from arcface_trainer.distributed.collectives import World
from arcface_trainer.network import backbones, layers
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.training.loss_check import LossCheck

SAMPLE_SEED = 0
"""The same pairs at every verification and on every rank."""
MOST_SHARE = 0.02
"""Of the computation between two verifications that one of them may take."""
FORWARDS_AN_IMAGE = 3
"""Forward passes that training on an image costs: the backward pass computes two gradients a layer."""
FORWARDS_A_PAIR = 4
"""Two images and their mirrored views."""


@dataclass(frozen=True, slots=True)
class SampledPairs:
    """The pairs of a set that were drawn to be looked at, in its order."""

    pair_set: PairSet
    pairs: NDArray[np.int64]

    @property
    def is_same(self) -> NDArray[np.bool_]:
        """(n,): whether the two images of a pair show one person."""
        return self.pair_set.is_same[self.pairs]


@dataclass(frozen=True, slots=True)
class ShardImages:
    """Images of a shard: 2i and 2i + 1 are its pair i."""

    pairs: list[tuple[PairSet, int]]

    def __len__(self) -> int:
        return 2 * len(self.pairs)

    def image(self, number: int) -> Image:
        """One of them."""
        pair_set, pair = self.pairs[number // 2]
        return pair_set.image(2 * pair + number % 2)


@dataclass(frozen=True, slots=True)
class PairShard:
    """All sets, and this rank's shard of their pairs laid end to end."""

    sets: list[SampledPairs]
    world_size: int
    rank: int
    batch_size: int

    @property
    def shard_size(self) -> int:
        """Pairs of each rank; the last ranks may have fewer."""
        return -(-sum(len(sampled.pairs) for sampled in self.sets) // self.world_size)

    @property
    def images(self) -> ShardImages:
        """Images of this rank's pairs."""
        joined = [(sampled.pair_set, int(pair)) for sampled in self.sets for pair in sampled.pairs]
        return ShardImages(joined[self.rank * self.shard_size : (self.rank + 1) * self.shard_size])

    def distances(self, network: Network) -> NDArray[np.float64]:
        """(shard_size,) squared distances of this rank's pairs, filled up with NaN."""
        own = self.images
        filled = np.full(self.shard_size, np.nan)
        if own.pairs:
            filled[: len(own.pairs)] = squared_distances(embed(own, network, self.batch_size))
        return filled

    def results(self, distances: NDArray[np.float64]) -> list[PairResult]:
        """Results on each set from the shards of all ranks, (world_size, shard_size)."""
        joined, start, results = distances.ravel(), 0, []
        for sampled in self.sets:
            stop = start + len(sampled.pairs)
            folds = fold_accuracy(joined[start:stop], sampled.is_same)
            results.append(
                PairResult(dataset=sampled.pair_set.name, accuracy=folds.mean, std=folds.std, pairs=len(sampled.pairs))
            )
            start = stop
        return results


def open_pair_shard(
    evaluation: RunEvaluation, most_pairs: int, world_size: int, rank: int, batch_size: int
) -> PairShard:
    """Open and check the sets; where they have more pairs than may be looked at, a sample of each is taken.

    Each rank decodes its shard beforehand: a damaged image must not end the training after an epoch.

    Raises:
        InvalidInput: naming the set that is missing, damaged or too small.
    """
    opened = open_sets(set_files(evaluation))
    total = sum(len(pair_set.is_same) for pair_set in opened)
    drawn = min(1.0, most_pairs / total)
    shard = PairShard([_sample(pair_set, drawn) for pair_set in opened], world_size, rank, batch_size)
    check_images(shard.images)
    return shard


def _sample(pair_set: PairSet, share: float) -> SampledPairs:
    """A random share of the pairs of a set, at least one for each fold."""
    pairs = len(pair_set.is_same)
    count = max(FOLDS, int(share * pairs))
    return SampledPairs(pair_set, np.sort(np.random.default_rng(SAMPLE_SEED).permutation(pairs)[:count]))


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
    verifications: Verifications
    """What it has found; a checkpoint that cannot be saved takes its best one back."""
    pair_seconds: tuple[float, ...] = ()
    """That each rank took for one of its pairs in the last one; 0 of a rank that had none."""
    embedded: int = 0
    """Images of this rank that all of them have embedded so far, the one that is under way included."""
    _is_finite: bool = True
    """Whether this rank's embeddings have been, in the one that is under way."""

    def is_due(self, step: int) -> bool:
        """Whether the network after this step is to be judged and has not been."""
        last = self.verifications.last
        is_end = step % self.every_steps == 0 or step == self.plan.total_steps
        return step > 0 and is_end and (last is None or last.step < step)

    def embedded_images(self) -> int:
        """How many it has embedded, for those who look from another thread whether it gets on."""
        return self.embedded

    def verify(self, step: int, loss_check: LossCheck) -> Verification:
        """Judge the network after `step`.

        Raises:
            RollBackDue, Diverged: on all ranks alike, where it gives no numbers on one of them.
        """
        backbones.assign(
            backbones.named_parameters(self.backbone), self.state.backbone(self.world), "the network in training"
        )
        started, self._is_finite = time.monotonic(), True
        own = self.pairs.distances(self._embed)
        seconds = (time.monotonic() - started) / max(1, np.isfinite(own).sum())
        rows = self.world.all_gather_doubles(np.append(own, (seconds, self._is_finite)))
        loss_check.check_embeddings(np.flatnonzero(rows[:, -1] == 0).tolist(), step)
        self.pair_seconds = tuple(rows[:, -2].tolist())
        results = self.pairs.results(rows[:, :-2])
        found = Verification(epoch=self.plan.epoch(step), step=step, results=results)
        self.verifications.add(found)
        return found

    def _embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Any numbers where the network gives none: a rank that failed here would leave its peers waiting for it."""
        embeddings = self.network(images)
        self.embedded += len(images)
        is_finite = bool(np.isfinite(embeddings).all())
        self._is_finite = self._is_finite and is_finite
        return embeddings if is_finite else np.zeros_like(embeddings)


def build_verifier(
    evaluation: RunEvaluation | None, plan: TrainingPlan, batch_size: int, checkpointing: Checkpointing, world: World
) -> Verifier | None:
    """The verifier of a job that asks for one.

    Args:
        evaluation: the sets, and how often.
        plan: the training.
        batch_size: images that the network takes at once.
        checkpointing: has the state of the network in training, and is told what is found.
        world: all ranks call together.

    Raises:
        InvalidInput: where a set is missing or damaged.
    """
    if evaluation is None or evaluation.every_epochs is None or not evaluation.sets:
        return None
    every_steps = evaluation.every_epochs * plan.schedule.steps_per_epoch
    most = most_pairs(every_steps * plan.total_batch_size)
    pairs = open_pair_shard(evaluation, most, world.size, world.rank, batch_size)
    backbone = backbones.build_backbone(plan.model, layers.trunk_cast(plan.precision, world.chip))
    return Verifier(
        pairs,
        every_steps,
        plan,
        backbone,
        backbones.as_function(backbone),
        checkpointing.state,
        world,
        checkpointing.verifications,
    )


def most_pairs(images: int) -> int:
    """Pairs that may be looked at after training on so many images."""
    return int(MOST_SHARE * FORWARDS_AN_IMAGE * images / FORWARDS_A_PAIR)
