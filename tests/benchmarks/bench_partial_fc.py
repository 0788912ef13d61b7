"""What drawing a share of the classes saves and costs: `python bench_partial_fc.py [--faces FOLDER [--epochs N]]`.

Memory and time of the head, update included, for shares of a million classes on one rank, each share in a process of
its own. Beside the peak stands what `arcface plan` says of it. Time is the median of a few steps, the draw on the host
included and also by itself.

With FOLDER, a folder with train.rec and lfw_dev.bin, examples/lfw.yaml is trained with all classes and then with a
share of them, and both networks are judged on people never trained on. That takes twice as long as `make bench-lfw`;
fewer epochs take less and tell less.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from arcface_trainer.device import compute_environment

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ |= compute_environment(os.environ, "cpu")

import mindspore
import numpy as np
import yaml
from bench_lfw import ARCFACE, ROOT, accuracy
from mindspore import Tensor, float32, nn

from arcface_api.resource.spec import LossSpec, OptimizerSpec
from arcface_faces.checkpoint import ClassRange
from arcface_operator.preflight.data import Counts
from arcface_operator.preflight.estimate import device_memory
from arcface_operator.preflight.layers import network_size
from arcface_trainer.distributed.collectives import Collectives
from arcface_trainer.head.classifier import Classifier
from arcface_trainer.head.sampling import ClassDraw, SampledClassifier
from arcface_trainer.step.flat import FlatParameters
from arcface_trainer.step.update import FlatMomentum, RowMomentum
from support.builders.jobs import make_job

FORGET_PEAK = "5"
"""Written to clear_refs it sets the peak of a process to what it holds now (proc(5))."""
FIRST_TO_GO = "1000"
"""Written to oom_score_adj: where memory is short, this process ends and no other one does."""
MIB = 1 << 20


class HeadStep(nn.Cell):
    """Loss, gradients and update of the head."""

    def __init__(self, classes: int, embedding: int, batch: int, share: float) -> None:
        super().__init__()
        block = np.random.default_rng(0).standard_normal((1000, embedding), np.float32)
        centers = np.resize(block, (classes, embedding))
        own = ClassRange(0, classes)
        self.classifier = Classifier(LossSpec(), own, centers, Collectives(1, 0))
        weights, optimizer = FlatParameters([self.classifier.centers]), OptimizerSpec()
        if share < 1:
            self.classifier = SampledClassifier(self.classifier, ClassDraw(0, own, share), batch)
            self.momentum = RowMomentum(weights, optimizer, "velocity", self.classifier.selection)
        else:
            self.momentum = FlatMomentum(weights, optimizer, "velocity")

    def construct(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        loss, _, d_centers = self.classifier(embeddings, labels)
        self.momentum(d_centers.reshape(-1), Tensor(0.1, float32), Tensor(True))
        return loss

    def run(self, step: int, embeddings: np.ndarray, labels: np.ndarray) -> float:
        if isinstance(self.classifier, SampledClassifier):
            self.classifier.choose(labels, step)
        return self(Tensor(embeddings), Tensor(labels)).asnumpy().item()


def measure_share(options: argparse.Namespace) -> None:
    """In a process of its own: peak above centres and momentum (MiB), milliseconds of a step and of its draw."""
    Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    size = options.embedding, options.batch, options.share
    _times(HeadStep(1000, *size), options, 1000, 1)  # what MindSpore itself takes for compiling and running
    step = HeadStep(options.classes, *size)
    Path("/proc/self/clear_refs").write_text(FORGET_PEAK)
    before = _peak()
    times = _times(step, options, options.classes, options.rounds + 1)[1:]  # the first one compiles
    print(_peak() - before, statistics.median(times), _draw_time(step))


def _times(step: HeadStep, options: argparse.Namespace, classes: int, count: int) -> list[float]:
    random, times = np.random.default_rng(0), []
    for number in range(count):
        embeddings = random.standard_normal((options.batch, options.embedding), np.float32)
        labels = random.integers(0, classes, options.batch).astype(np.int32)
        began = time.perf_counter()
        loss = step.run(number, embeddings, labels)
        times.append(1000 * (time.perf_counter() - began))
        assert math.isfinite(loss)
    return times


def _draw_time(step: HeadStep) -> float:
    if not isinstance(step.classifier, SampledClassifier):
        return 0.0
    began = time.perf_counter()
    step.classifier.draw.at(0)
    return 1000 * (time.perf_counter() - began)


def _peak() -> float:
    """MiB that this process has held at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def planned(options: argparse.Namespace, share: float) -> float:
    """MiB of the head beside its centres and their momentum, as `arcface plan` has it."""
    spec = make_job(
        model={"embeddingSize": options.embedding},
        loss={"sampleRate": share},
        workers={"accelerator": "cpu"},
        training={"batchSize": options.batch},
    ).spec
    memory = device_memory(spec, Counts(options.classes, 10 * options.classes), network_size(spec.model))
    kept = 2 * 4 * options.classes * options.embedding
    return (memory.head + memory.logits + memory.temporaries - kept) / MIB


def measure_head(options: argparse.Namespace) -> None:
    kept = 2 * 4 * options.classes * options.embedding / MIB
    print(f"{options.classes:,} classes, embeddings of {options.embedding}, batch {options.batch}, one rank, fp32")
    print(f"centres and momentum, whatever the share: {kept:,.0f} MiB")
    print("share  peak above (MiB)  planned (MiB)  step (ms)  draw (ms)")
    sizes = ["--classes", options.classes, "--embedding", options.embedding, "--batch", options.batch]
    for share in options.shares:
        command = [sys.executable, __file__, *sizes, "--rounds", options.rounds, "--share", share]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{share:5}  ended by {done.returncode}: {done.stderr[-500:]}")
            continue
        peak, step, draw = map(float, done.stdout.split()[-3:])
        print(f"{share:5}  {peak:16,.0f}  {planned(options, share):13,.0f}  {step:9,.0f}  {draw:9,.1f}", flush=True)


def measure_accuracy(options: argparse.Namespace) -> None:
    for share in (1.0, options.accuracy_share):
        job = yaml.safe_load((ROOT / "examples" / "lfw.yaml").read_text())
        job["metadata"]["name"] = name = f"lfw-share-{share:g}".replace(".", "-")
        job["spec"].setdefault("loss", {})["sampleRate"] = share
        if options.epochs:
            job["spec"]["training"]["epochs"] = options.epochs
        work = ROOT / "work" / "bench-partial-fc" / name
        work.mkdir(parents=True, exist_ok=True)
        (work / "job.yaml").write_text(yaml.safe_dump(job))
        volume = f"faces={options.faces.resolve()}"
        began = time.monotonic()
        subprocess.run([ARCFACE, "run", "-f", work / "job.yaml", "--volume", volume, "--workdir", work], check=True)
        newest = max((work / "volumes" / "checkpoints" / name).glob("step-*"))
        found = accuracy(newest, options.faces / "lfw_dev.bin")
        minutes = (time.monotonic() - began) / 60
        print(f"share {share:g}: accuracy {found:.4f} after {newest.name}, {minutes:.1f} minutes", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--embedding", type=int, default=128, help="512 takes four times the memory")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.3, 0.1])
    parser.add_argument("--share", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--faces", type=Path, help="train on it instead: folder with train.rec and lfw_dev.bin")
    parser.add_argument("--accuracy-share", type=float, default=0.3)
    parser.add_argument("--epochs", type=int, help="fewer than the example's")
    return parser.parse_args()


def main() -> None:
    options = parse()
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    if options.share is not None:
        measure_share(options)
    elif options.faces:
        measure_accuracy(options)
    else:
        measure_head(options)


main()
