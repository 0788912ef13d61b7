"""Builds the training of one rank from its run configuration, which goes no further than here."""

import logging
from collections.abc import Callable
from pathlib import Path

import mindspore

from arcface_api.contract.run_config import RunConfig, RunData, RunRanks
from arcface_api.errors import InvalidInput
from arcface_api.resource.spec import TrainingSpec
from arcface_api.unsupported import unsupported_training
from arcface_faces.checkpoint.class_shard import class_range
from arcface_faces.dataset import FaceSet, open_faces
from arcface_faces.opencv import cv2
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.data.loader import BatchLoader, decode_threads
from arcface_trainer.data.sampler import Sampler
from arcface_trainer.distributed.collectives import World, init_distributed
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.gradient_step import GradientStep
from arcface_trainer.step.train_step import TrainStep
from arcface_trainer.training.checkpointing import Checkpointing
from arcface_trainer.training.loop import TrainingLoop
from arcface_trainer.training.loss_check import LossCheck
from arcface_trainer.training.meter import Meter
from arcface_trainer.training.metrics import TrainMetrics
from arcface_trainer.training.verification import build_verifier

LOG = logging.getLogger(__name__)


def build_training_loop(config: RunConfig, rank: int, is_stop_wanted: Callable[[], bool]) -> TrainingLoop:
    """Open the data, meet the other ranks, build network and head, and load the newest checkpoint.

    All ranks call together.

    Raises:
        InvalidInput: where the configuration, the data or the checkpoints cannot be used.
    """
    for sentence in unsupported_training(config.model, config.loss, config.training, config.precision):
        raise InvalidInput(sentence)
    faces = _open_data(config.data, config.ranks)
    sampler = _build_sampler(config.training, faces, config.ranks, rank)
    plan = TrainingPlan.of(config, sampler, faces.class_count)
    loader = BatchLoader(faces, sampler, config.data.augmentation, decode_threads())
    world = init_distributed(config.ranks, rank)
    train_step = _build_train_step(plan, config.training, world)
    state = TrainingState(train_step)
    checkpointing = Checkpointing.start(config.checkpoint, state, plan, world)
    verifier = build_verifier(config.evaluation, plan, config.training.batch_size, state, world)
    meter = Meter(plan.schedule.steps_per_epoch, plan.total_steps, plan.total_batch_size)
    if checkpointing.resumed is not None:
        meter.step = checkpointing.resumed.step
        if verifier is not None:
            verifier.resume(checkpointing.resumed)
    return TrainingLoop(
        plan=plan,
        rank=rank,
        train_step=train_step,
        loader=loader,
        checkpointing=checkpointing,
        verifier=verifier,
        meter=meter,
        metrics=TrainMetrics(rank),
        loss_check=LossCheck(plan),
        is_stop_wanted=is_stop_wanted,
    )


def _open_data(data: RunData, ranks: RunRanks) -> FaceSet:
    """The training images; InvalidInput where they are damaged or too few identities for the ranks."""
    cv2.setNumThreads(1)  # images are decoded in threads of ours
    faces = open_faces(Path(data.directory), data.min_images_per_identity)
    if faces.class_count < ranks.world_size:
        raise InvalidInput(
            f"{data.directory}: {ranks.world_size} ranks share {faces.class_count} identities and each needs one: "
            "lower spec.workers.replicas or devicesPerWorker, or add identities"
        )
    LOG.info("images=%d identities=%d left_out=%d", len(faces.labels), faces.class_count, faces.dropped_identities)
    return faces


def _build_sampler(training: TrainingSpec, faces: FaceSet, ranks: RunRanks, rank: int) -> Sampler:
    total_batch_size = training.batch_size * ranks.world_size
    return Sampler(len(faces.labels), total_batch_size, training.seed, ranks.world_size, rank)


def _build_train_step(plan: TrainingPlan, training: TrainingSpec, world: World) -> TrainStep:
    """Network and head with fresh weights, the same for any number of ranks."""
    mindspore.set_seed(plan.seed)
    backbone = build_backbone(plan.model)
    classes = class_range(plan.class_count, world.size, world.rank)
    centers = initial_centers(classes, plan.model.embedding_size, plan.seed)
    classifier = Classifier(plan.loss, classes, centers, world.collectives)
    return TrainStep(GradientStep(backbone, classifier, world.collectives), training.optimizer, training.clip_norm)
