"""What a step costs beside its network: `python bench_trainer.py [time] [kernels] [traffic] [head]`, all by default.

time: the whole step against a bare nn.TrainOneStepCell with nn.Momentum and weight decay, on the same network, batch
and an unsharded ArcFace that MindSpore differentiates; one process, the two in turn, medians.
kernels: of the compiled step, those of forward and backward pass of network and head taken off, for each tensor that
the step keeps.
traffic: bytes that a recorded step hands to its collectives beside what `arcface plan` says.
head: peak memory of the head above embeddings and centres, on one rank of four beside one alone; each in a process of
its own, whose peers are stood in for by copies of what it has.
"""

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from arcface_trainer.device import compute_environment

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ |= compute_environment(os.environ, "cpu")

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from arcface_api.resource.spec import LossSpec, ModelSpec, OptimizerSpec, TrainingSpec
from arcface_faces.checkpoint import ClassRange, class_range
from arcface_operator.preflight.estimate import collectives
from arcface_operator.preflight.layers import network_size
from arcface_trainer.distributed.collectives import World
from arcface_trainer.head.classifier import Classifier, initial_centers
from arcface_trainer.network.backbones import build_backbone, preprocessed
from arcface_trainer.step.train_step import build_train_step
from support.builders.jobs import make_job
from support.builders.training_plan import make_plan
from support.fakes.alike_ranks import AlikeCollectives, record_step
from support.processes.step_kernels import GraphKernels, step_kernels

RATE, MOMENTUM, DECAY, MARGIN, SCALE = 0.01, 0.9, 5e-4, 0.5, 64.0
COSINE, SINE = math.cos(MARGIN), math.sin(MARGIN)
RANKS, HEAD_BATCH = 4, 32
FORGET_PEAK = "5"
"""Written to clear_refs it sets the peak of a process to what it holds now (proc(5))."""
FIRST_TO_GO = "1000"
"""Written to oom_score_adj: where memory is short, this process ends and no other one does."""
KINDS = 8
"""Of kernels that are named, the most frequent ones."""


class ArcFaceNetwork(nn.Cell):
    """A network and the margin softmax as most write it: one matrix of logits, a one-hot one beside it."""

    def __init__(self, model: ModelSpec, class_count: int) -> None:
        super().__init__()
        self.backbone = build_backbone(model)
        centers = initial_centers(ClassRange(0, class_count), model.embedding_size, 0)
        self.centers = Parameter(Tensor(centers), name="centers")
        self.class_count = class_count

    def construct(self, images: Tensor, labels_B: Tensor) -> Tensor:
        embeddings_BD = self.backbone(preprocessed(images))
        cosines_BC = ops.matmul(_unit(embeddings_BD), _unit(self.centers).T).clip(-1.0, 1.0)
        on, off = Tensor(1.0, mindspore.float32), Tensor(0.0, mindspore.float32)
        is_target_BC = ops.one_hot(labels_B, self.class_count, on, off)
        target_B1 = (cosines_BC * is_target_BC).sum(axis=1, keepdims=True)
        sines_B1 = ops.sqrt((1 - target_B1 * target_B1).clip(1e-12, 1.0))
        moved_B1 = target_B1 * COSINE - sines_B1 * SINE
        after_B1 = ops.where(target_B1 > -COSINE, moved_B1, target_B1 - MARGIN * SINE)
        return ops.cross_entropy(SCALE * (cosines_BC + is_target_BC * (after_B1 - target_B1)), labels_B)


def _unit(x_ND: Tensor) -> Tensor:
    return x_ND / ops.sqrt((x_ND * x_ND).sum(axis=1, keepdims=True))


def _bare_cell(model: ModelSpec, classes: int, seed: int) -> nn.Cell:
    mindspore.set_seed(seed)
    network = ArcFaceNetwork(model, classes)
    momentum = nn.Momentum(network.trainable_params(), RATE, MOMENTUM, weight_decay=DECAY)
    cell = nn.TrainOneStepCell(network, momentum)
    cell.set_train()
    return cell


def measure_time(options: argparse.Namespace) -> None:
    model, batch, classes = ModelSpec(backbone=options.backbone, width=options.width), options.batch, options.classes
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, 3, 112, 112)).astype(np.uint8)
    labels = random.integers(0, classes, batch).astype(np.int32)

    loss = LossSpec(scale=SCALE, margin=MARGIN)
    plan = make_plan(model=model, loss=loss, class_count=classes, total_batch_size=batch)
    optimizer = OptimizerSpec(momentum=MOMENTUM, weight_decay=DECAY)
    step = build_train_step(plan, TrainingSpec(optimizer=optimizer), World(1, 0))
    cell = _bare_cell(model, classes, plan.seed)

    def ours() -> float:
        return step.launch(images, labels, RATE).result().loss

    def bare() -> float:
        return cell(Tensor(images), Tensor(labels)).asnumpy().item()

    first = [way() for way in (ours, bare)]  # compiles
    if not math.isclose(*first, rel_tol=1e-3):
        sys.exit(f"not the same network, batch and loss: {first}")
    print(f"{options.backbone} at width {options.width}, batch {batch}, {classes} classes, fp32, one rank")
    pairs = []
    for number in range(options.rounds):
        pair = [_milliseconds(way) for way in ((ours, bare) if number % 2 else (bare, ours))]
        pairs.append(pair if number % 2 else pair[::-1])
    medians = [statistics.median(times) for times in zip(*pairs, strict=True)]
    low, _, high = statistics.quantiles([own / other for own, other in pairs], n=4)
    row(f"step, ours / bare, {options.rounds} rounds (ms)", f"{medians[0]:.0f} / {medians[1]:.0f}", "")
    row("  ratio of the medians", f"{medians[0] / medians[1]:.3f}", "<= 1.10")
    row("  half of the rounds are between", f"{low:.3f} .. {high:.3f}", "")


def _milliseconds(way: Callable[[], float]) -> float:
    began = time.perf_counter()
    way()
    return 1000 * (time.perf_counter() - began)


def measure_kernels(options: argparse.Namespace) -> None:
    model = ModelSpec(backbone=options.graph, width=options.graph_width)
    found = step_kernels(model, options.graph_batch, options.classes)
    tensors = found.weights + found.statistics
    print(
        f"{options.graph} at width {options.graph_width}: {found.weights} weights with the centres, "
        f"{found.statistics} statistics"
    )
    graphs: dict[str, GraphKernels] = {"as every device is given it": found.portable, "as a CPU runs it": found.on_cpu}
    for title, kernels in graphs.items():
        bookkeeping = kernels.bookkeeping
        kinds = ", ".join(f"{kind} {count}" for kind, count in bookkeeping.most_common(KINDS))
        row(f"kernels of a step, {title}", f"{kernels.step.total()}", "<= 2000 (IResNet-100)")
        row("  of network and head", f"{kernels.network.total()}", "")
        row("  of bookkeeping", f"{bookkeeping.total()}", "")
        row("  of that a tensor", f"{bookkeeping.total() / tensors:.2f}", "<= 2")
        row("  and a weight, statistics not counted", f"{bookkeeping.total() / found.weights:.2f}", "")
        print(f"    {kinds}")


def measure_traffic(options: argparse.Namespace) -> None:
    spec = make_job(
        model={"backbone": options.backbone, "width": options.width},
        workers={"accelerator": "cpu", "replicas": RANKS},
        training={"batchSize": max(1, options.batch // RANKS)},
    ).spec
    recorded = sum(handed_over for _, handed_over, _ in record_step(spec, options.classes))
    planned = sum(each.handed_over for each in collectives(spec, network_size(spec.model)))
    row(f"bytes to collectives on {RANKS} ranks, step / plan", f"{recorded} / {planned}", "")
    row("  apart", f"{100 * (recorded / planned - 1):+.2f} %", "within 5 %")


def measure_head(options: argparse.Namespace) -> None:
    peaks = []
    for ranks in (1, RANKS):
        command = [sys.executable, __file__, "--head-of-ranks", str(ranks)]
        command += ["--head-classes", str(options.head_classes), "--head-embedding", str(options.head_embedding)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            row(f"head's peak memory on {ranks} ranks", f"ended by {done.returncode}", "")
            print(done.stderr[-1000:])
            return
        peaks.append(float(done.stdout.split()[-1]))
        row(f"head's peak, {options.head_classes} classes, 1 of {ranks} ranks (MiB)", f"{peaks[-1]:.0f}", "")
    row(f"  ratio (embeddings of {options.head_embedding})", f"{peaks[1] / peaks[0]:.3f}", "<= 0.30")


def head_peak(classes: int, embedding: int, ranks: int) -> float:
    """MiB that the head of rank 0 takes at most above its embeddings and centres."""
    Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    head = _head(1000, embedding, ranks)
    head()  # what MindSpore itself takes for compiling and running is there before
    head = _head(classes, embedding, ranks)
    Path("/proc/self/clear_refs").write_text(FORGET_PEAK)
    before = _peak()
    head()
    return _peak() - before


def _head(classes: int, embedding: int, ranks: int) -> Callable[[], float]:
    own, batch = class_range(classes, ranks, 0), HEAD_BATCH // ranks
    random = np.random.default_rng(0)
    centers = np.resize(random.standard_normal((1000, embedding), np.float32), (own.size, embedding))
    classifier = Classifier(LossSpec(), own, centers, AlikeCollectives(ranks))
    embeddings = Tensor(random.standard_normal((batch, embedding), np.float32))
    labels = Tensor(random.integers(0, classes, batch).astype(np.int32))
    return lambda: classifier(embeddings, labels)[0].asnumpy().item()


def _peak() -> float:
    """MiB that this process has held at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def row(what: str, measured: str, wanted: str) -> None:
    print(f"{what:58} {measured:>24}   {wanted}".rstrip(), flush=True)


def machine() -> str:
    model = next(
        (line.partition(": ")[2] for line in _cpu_lines() if line.startswith("model name")), platform.machine()
    )
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{len(os.sched_getaffinity(0))} cores of {model}; load {load}; MindSpore {mindspore.__version__}"


def _cpu_lines() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()


PARTS = {"time": measure_time, "kernels": measure_kernels, "traffic": measure_traffic, "head": measure_head}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--backbone", default="iresnet18", help="of time and traffic")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--graph", default="iresnet18", help="network whose kernels are counted")
    parser.add_argument("--graph-width", type=float, default=0.25)
    parser.add_argument("--graph-batch", type=int, default=2)
    parser.add_argument("--head-classes", type=int, default=1_000_000)
    parser.add_argument(
        "--head-embedding", type=int, default=128, help="512 takes more than 21 GiB for a million classes"
    )
    parser.add_argument("--head-of-ranks", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    if options.head_of_ranks:
        print(head_peak(options.head_classes, options.head_embedding, options.head_of_ranks))
        return
    print(machine())
    row("", "measured", "wanted")
    for part in options.parts or PARTS:
        PARTS[part](options)
    print(f"in the end: {machine()}")


main()
