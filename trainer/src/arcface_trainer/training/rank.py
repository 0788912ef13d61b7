"""One rank of the training, a process of its own: `python -m arcface_trainer.training.rank CONFIG REPORT LOCAL_RANK`.

The launcher starts it with the rank variables in its environment.
"""

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import mindspore

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import ReportedFailure, TrainerReport, failure_from
from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput, Stopped
from arcface_api.resource.status import CheckpointStatus
from arcface_api.unsupported import unsupported_training
from arcface_faces.checkpoint.class_shard import class_range
from arcface_faces.checkpoint.manifest import Manifest
from arcface_faces.checkpoint.reader import folder_name, manifest_sha256, read_manifest
from arcface_faces.dataset import FaceSet, open_faces
from arcface_faces.opencv import cv2
from arcface_trainer.checkpoint.resume import resume
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.data.loader import BatchSource
from arcface_trainer.data.sampler import Sampler
from arcface_trainer.distributed.world import World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import build_backbone
from arcface_trainer.step.train_step import GradientStep, TrainStep
from arcface_trainer.training.clock import utc_now
from arcface_trainer.training.loop import TrainingLoop
from arcface_trainer.training.meter import Meter
from arcface_trainer.training.metrics import TrainMetrics, serve
from arcface_trainer.training.schedule import Schedule
from arcface_trainer.training.verification import build_verifier

LOG = logging.getLogger(__name__)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
MOST_DECODE_THREADS = 8
STOP_PATIENCE_SECONDS = 90.0
"""After a request to stop: a rank that waits for dead peers inside a collective cannot save and ends by itself."""


def main(arguments: list[str]) -> int:
    """Run the rank and write its report; returns the exit status."""
    config_path, report_path, local_rank = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    identity = RankIdentity.from_environment()
    logging.basicConfig(level=logging.INFO if identity.rank == 0 else logging.WARNING, format=LOG_FORMAT)
    loop: TrainingLoop | None = None
    failure: ReportedFailure | None = None
    try:
        config = RunConfig.read(config_path)
        loop = assemble(config, identity, local_rank, StopRequest.install())
        loop.run()
    except ArcFaceError as error:
        (LOG.info if isinstance(error, Stopped) else LOG.error)("%s", error)
        failure = failure_from(error, identity.rank)
    partial = report_path.with_suffix(".partial")
    report_of(loop, failure, identity.rank).write(partial)
    partial.rename(report_path)  # the launcher may look at any time
    return failure.exit_code if failure else ExitCode.DONE


def report_of(loop: TrainingLoop | None, failure: ReportedFailure | None, rank: int) -> TrainerReport:
    """Rank 0 tells where the training stands, every rank why it failed."""
    if loop is None:
        return TrainerReport(failure=failure)
    report = TrainerReport(skipped_images=len(loop.source.skipped), failure=failure)
    if rank != 0:
        return report
    progress = loop.meter.progress(utc_now())
    if (verifier := loop.verifier) is not None:
        verified = {"verification": verifier.last, "best": verifier.best_checkpoint}
        progress = progress.model_copy(update=verified)
    return report.model_copy(update={"progress": progress, "checkpoint": loop.checkpoint, "warnings": loop.warnings})


@dataclass
class StopRequest:
    """Whether SIGTERM or SIGINT came."""

    is_wanted: bool = False

    @classmethod
    def install(cls) -> "StopRequest":
        """Take over the signals."""
        request = cls()

        def on_signal(_number: int, _frame: object) -> None:
            if not request.is_wanted:
                request.is_wanted = True
                threading.Thread(target=end_after_patience, daemon=True).start()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        return request


def end_after_patience() -> None:
    """End the process when stopping in order did not work out."""
    time.sleep(STOP_PATIENCE_SECONDS)
    os._exit(ExitCode.FAILED)


def assemble(config: RunConfig, identity: RankIdentity, local_rank: int, stop: StopRequest) -> TrainingLoop:
    """Join the ranks, open the data, build network and head, and load the newest checkpoint."""
    rank, ranks = identity.rank, config.ranks
    if identity.world_size != ranks.world_size:
        raise InvalidInput(f"MS_WORKER_NUM={identity.world_size}, but the run has {ranks.world_size} ranks")
    for sentence in unsupported_training(config.model, config.loss, config.training, config.precision):
        raise InvalidInput(sentence)
    faces = open_faces(Path(config.data.directory), config.data.min_images_per_identity)
    if faces.class_count < ranks.world_size:
        raise InvalidInput(
            f"{config.data.directory}: {ranks.world_size} ranks share {faces.class_count} identities and each needs "
            "one: lower spec.workers.replicas or devicesPerWorker, or add identities"
        )
    sampler = Sampler(
        dataset_size=len(faces.labels),
        global_batch_size=config.training.batch_size * ranks.world_size,
        seed=config.training.seed,
        world_size=ranks.world_size,
        rank=rank,
    )
    LOG.info("images=%d identities=%d left_out=%d", len(faces.labels), faces.class_count, faces.dropped_identities)
    world = join(config, rank)
    schedule = Schedule(config.training.schedule, config.learning_rate, sampler.steps_per_epoch, config.training.epochs)
    meter = Meter(sampler.steps_per_epoch, schedule.total_steps, sampler.global_batch_size)
    metrics = TrainMetrics(rank)
    train_step = build_step(config, faces, world)
    state = TrainingState(train_step)
    manifest = manifest_of(config, faces, sampler, schedule)
    directory = Path(config.checkpoint.directory)
    writer = CheckpointWriter(directory, config.checkpoint.keep_last, world)
    if world.is_first:
        writer.prepare()
    meter.step = resume(state, directory, manifest, world)
    resumed = read_manifest(directory / folder_name(meter.step)) if meter.step else None
    verifier = build_verifier(config, sampler, schedule.total_steps, state, world)
    if verifier is not None and resumed is not None:
        verifier.resume(resumed)
    loop = TrainingLoop(
        config=config,
        manifest=manifest,
        train_step=train_step,
        state=state,
        source=BatchSource(faces, sampler, config.data.augmentation, decode_threads()),
        schedule=schedule,
        writer=writer,
        meter=meter,
        metrics=metrics,
        is_stop_wanted=lambda: stop.is_wanted,
        verifier=verifier,
        checkpoint=None if resumed is None else resumed_status(directory / folder_name(meter.step), resumed),
    )
    port = config.metrics_port + local_rank if config.metrics_port else 0
    serve(identity.address, port, metrics, (lambda: report_of(loop, None, rank)) if rank == 0 else None)
    return loop


def join(config: RunConfig, rank: int) -> World:
    """Set the device up and wait for the other ranks."""
    cv2.setNumThreads(1)  # images are decoded in threads of ours
    mindspore.set_device("Ascend" if config.ranks.accelerator == "ascend" else "CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    if config.ranks.world_size > 1:
        started = time.monotonic()
        mindspore.communication.init()
        LOG.info("ranks joined world_size=%d seconds=%.1f", config.ranks.world_size, time.monotonic() - started)
    return World(config.ranks.world_size, rank)


def build_step(config: RunConfig, faces: FaceSet, world: World) -> TrainStep:
    """Network and head with fresh weights, the same for any number of ranks."""
    mindspore.set_seed(config.training.seed)
    backbone = build_backbone(config.model)
    classes = class_range(faces.class_count, world.size, world.rank)
    centers = initial_centers(classes, config.model.embedding_size, config.training.seed)
    classifier = Classifier(config.loss, classes, centers, world.collectives)
    return TrainStep(
        GradientStep(backbone, classifier, world.collectives), config.training.optimizer, config.training.clip_norm
    )


def manifest_of(config: RunConfig, faces: FaceSet, sampler: Sampler, schedule: Schedule) -> Manifest:
    """What every checkpoint of this run says."""
    return Manifest(
        job=config.job,
        spec_hash=config.spec_hash,
        step=0,
        total_steps=schedule.total_steps,
        epoch=0,
        total_batch_size=sampler.global_batch_size,
        world_size=config.ranks.world_size,
        seed=config.training.seed,
        image_count=len(faces.labels),
        class_count=faces.class_count,
        saved_at=utc_now(),
        model=config.model,
        files=[],
    )


def resumed_status(folder: Path, manifest: Manifest) -> CheckpointStatus:
    """Status of the checkpoint that the run goes on from."""
    LOG.info("resumed folder=%s", folder)
    return CheckpointStatus(
        path=folder.name,
        step=manifest.step,
        saved_at=manifest.saved_at,
        sha256=manifest_sha256(folder),
        resumed_from_step=manifest.step,
    )


def decode_threads() -> int:
    """Threads that decode images: the cores that this rank may use, within reason."""
    return max(1, min(MOST_DECODE_THREADS, len(os.sched_getaffinity(0))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
