"""One rank of the training, a process of its own: `python -m arcface_trainer.training.rank CONFIG REPORT LOCAL_RANK`.

The launcher starts it with the rank variables in its environment. It builds the training loop, runs it and reports.
"""

import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from arcface_api import names
from arcface_api.contract import pod_environment, reports, run_config
from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput, Stopped
from arcface_trainer import standby
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.fine_tuning import FineTuning
from arcface_trainer.checkpoint.pod_memory import PodMemory
from arcface_trainer.checkpoint.state import TrainingState
from arcface_trainer.data.loader import open_loader
from arcface_trainer.distributed.collectives import World, init_distributed
from arcface_trainer.heartbeat import SUFFIX, Enter, Heartbeat, Phase
from arcface_trainer.metrics import TrainMetrics, serve
from arcface_trainer.plan import TrainingPlan
from arcface_trainer.step.frozen_step import FrozenStep
from arcface_trainer.step.graph_cache import GraphCache
from arcface_trainer.step.train_step import build_train_step
from arcface_trainer.training.history import HistoryWriter
from arcface_trainer.training.loop import TrainingLoop
from arcface_trainer.training.verification import build_verifier

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class StartAccount:
    """Where the seconds of a start go, from the moment on that MindSpore has been imported: a line of the log."""

    _ended_at: float = field(default_factory=time.monotonic)
    """Seconds of the clock at the end of the last part."""
    _parts: dict[str, float] = field(default_factory=dict)

    def end(self, part: str) -> None:
        """What was done since the last part is a part with this name."""
        began_at, self._ended_at = self._ended_at, time.monotonic()
        self._parts[part] = self._ended_at - began_at

    def told_before(self, enter: Enter) -> Enter:
        """Tell it as soon as the results of the first step are there, and `enter` of every phase."""

        def entered(phase: Phase, step: int) -> None:
            if phase is not Phase.START and self._parts:
                self.end("first_step")
                parts = " ".join(f"{part}={seconds:.2f}" for part, seconds in self._parts.items())
                LOG.info("started step=%d seconds: %s", step, parts)
                self._parts.clear()
            enter(phase, step)

        return entered


def _main(config_path: Path, report_path: Path, local_rank: int) -> int:
    """Run the rank and write its report; returns the exit status."""
    identity = pod_environment.RankIdentity.from_environment()
    logging.basicConfig(level=logging.INFO if identity.rank == 0 else logging.WARNING, format=names.LOG_FORMAT)
    LOG.info("rank begins launch=%d", identity.launch)
    loop: TrainingLoop | None = None
    failure: reports.ReportedFailure | None = None
    try:
        account = StartAccount()
        loop = build_training_loop(run_config.RunConfig.read(config_path), identity, local_rank, account)
        loop.enter = account.told_before(Heartbeat(report_path.with_suffix(SUFFIX)).enter)
        loop.run()
    except ArcFaceError as error:
        (LOG.info if isinstance(error, Stopped) else LOG.error)("%s", error)
        failure = reports.failure_from(error, identity.rank)
    partial = report_path.with_suffix(".partial")
    report = reports.TrainerReport(failure=failure) if loop is None else loop.report(failure)
    if report.write(partial):
        partial.rename(report_path)  # the launcher may look at any time
    return failure.exit_code if failure else ExitCode.DONE


def build_training_loop(
    config: run_config.RunConfig,
    identity: pod_environment.RankIdentity,
    local_rank: int,
    account: StartAccount | None = None,
) -> TrainingLoop:
    """A loop that is ready to run, its figures served; the run configuration goes no further than here.

    Data are opened before the ranks join: MindSpore's cluster waits for the slowest reader, HCCL behind it would not
    for long. Figures are served from before that, without progress: silence until the ranks have met would look like a
    network that lets nobody through. Signals are taken over when they have met: a rank that waits for its peers in
    MindSpore runs no handler of Python's and has nothing to save, so that SIGTERM may end it as it ends any process.

    Raises:
        InvalidInput: where configuration, data, checkpoints or verification sets cannot be used.
    """
    rank, ranks, training = identity.rank, config.ranks, config.training
    account = StartAccount() if account is None else account
    if identity.world_size != ranks.world_size:
        raise InvalidInput(f"MS_WORKER_NUM={identity.world_size}, but the run has {ranks.world_size} ranks")
    metrics, board = TrainMetrics(rank), _ProgressBoard(identity)
    port = config.metrics_port + local_rank if config.metrics_port else 0
    serve(identity.address, port, metrics, board.shown if rank == 0 else None)
    loader = open_loader(config.data, training, ranks, rank, Path(config.checkpoint.directory))
    plan = TrainingPlan.of(config, loader.sampler, loader.faces)
    account.end("images")
    world = init_distributed(ranks, identity, config.precision)
    account.end("join")
    _check_same_data(plan, world, config.data.directory)
    stop = StopRequest.install()
    train_step = build_train_step(plan, training, world)
    state = TrainingState(train_step)
    fine_tuning = FineTuning.of(config, plan, loader.faces, world)
    memory = PodMemory.of(identity.states, plan, world, ranks.per_pod, state.sizes())
    checkpointing = Checkpointing.start(
        config.checkpoint, state, plan, world, identity, fine_tuning=fine_tuning, memory=memory
    )
    metrics.checkpoint_pending.follow(checkpointing.pending_seconds)
    verifier = build_verifier(config.evaluation, plan, loader.sampler.split.micro_batch_size, checkpointing, world)
    if verifier is not None:
        metrics.verification_images.follow(verifier.embedded_images)
    loop = TrainingLoop(plan, rank, train_step, loader, checkpointing, verifier, lambda: stop.is_wanted, metrics)
    loop.history = HistoryWriter.start(Path(config.checkpoint.directory), plan, identity, loop.meter.step)
    folder = identity.states if _is_compared(plan, world) else None
    recipe = config.model_copy(update={"attempt": 0, "image": None}).to_json()
    loop.graph_cache = GraphCache(folder, rank, plan.class_count, plan.total_batch_size, recipe)
    loop.frozen_step = FrozenStep(train_step) if plan.model.freeze_epochs else None
    board.report = loop.report
    account.end("build")
    return loop


def _is_compared(plan: TrainingPlan, world: World) -> bool:
    """Whether a kept graph of this step is known to compute what one compiled anew does.

    On a CPU it does, to the last bit of four steps' results, weights and momentum: in float32 and float16, with
    dropout, in micro-batches, for a share of the classes and with a frozen backbone. On cards nobody has compared them.
    """
    return world.chip is None and plan.precision in {"fp32", "fp16"}


def _check_same_data(plan: TrainingPlan, world: World, directory: str) -> None:
    """InvalidInput, naming both, on every rank where one has other images than rank 0: copies that are not the same."""
    own = np.array([plan.image_count, plan.class_count, *np.frombuffer(bytes.fromhex(plan.content_fingerprint), "<i4")])
    sets = world.all_gather(own.astype(np.int32))
    others = np.flatnonzero((sets != sets[0]).any(axis=1))
    if not len(others):
        return
    first, other = (
        f"rank {rank} has {sets[rank, 0]} images of {sets[rank, 1]} identities (fingerprint "
        f"{sets[rank, 2:].astype('<i4').tobytes().hex()[:16]})"
        for rank in (0, others[0])
    )
    raise InvalidInput(f"{directory}: {first} and {other}: give all pods the same copy of the images")


@dataclass
class _ProgressBoard:
    """What rank 0 serves at /progress: who it is and, once there is something to tell, where the training stands."""

    identity: pod_environment.RankIdentity
    report: Callable[[], reports.TrainerReport] = reports.TrainerReport

    def shown(self) -> reports.TrainerReport:
        """The report at this moment."""
        return self.report().signed(self.identity)


@dataclass
class StopRequest:
    """Whether SIGTERM or SIGINT came."""

    is_wanted: bool = False

    @classmethod
    def install(cls) -> Self:
        """Take over the signals; the launcher sees to it that a rank ends which cannot heed them."""
        request = cls()

        def on_signal(_number: int, _frame: object) -> None:
            request.is_wanted = True

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        return request


if __name__ == "__main__":
    CONFIG, REPORT, LOCAL_RANK = standby.arguments()
    sys.exit(_main(Path(CONFIG), Path(REPORT), int(LOCAL_RANK)))
