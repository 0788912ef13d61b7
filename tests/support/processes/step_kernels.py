"""Kernels of a compiled step, beside those of its network and head alone, counted in what MindSpore dumps."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from arcface_api.resource.spec import ModelSpec
from arcface_trainer.device import compute_environment

SCRIPT = Path(__file__).parent / "compile_step.py"
PORTABLE, ON_CPU = "validate", "graph_build"
"""Passes after which graphs are read: the frontend's last, which no device has touched yet, and the CPU's last."""
NODE = re.compile(r"^ *%\w+\([^)]*\) = (?:PrimFunc_)?(\w+)\(")
NO_KERNELS = {"Load", "UpdateState", "Depend", "MakeTuple", "TupleGetItem", "Return", "Reshape", "ExpandDims"}
"""Nodes that keep an order or give a tensor another name or shape, and compute nothing."""


@dataclass(frozen=True, slots=True)
class GraphKernels:
    """Kernels by their kinds."""

    step: Counter[str]
    """Of the whole step."""
    network: Counter[str]
    """Of forward and backward pass of network and head, with which nothing is done."""

    @property
    def bookkeeping(self) -> Counter[str]:
        """What the step does besides: norm, clip, guard, decay, momentum, statistics."""
        found = Counter(self.step)
        found.subtract(self.network)
        return Counter({kind: count for kind, count in found.most_common() if count})


@dataclass(frozen=True, slots=True)
class StepKernels:
    """What a step compiles to."""

    weights: int
    """Tensors that have a gradient, centres included."""
    statistics: int
    """Tensors of running statistics."""
    portable: GraphKernels
    """As every device is given it."""
    on_cpu: GraphKernels
    """As a CPU runs it: among others a slice for each part of a split, which elsewhere is one kernel."""


def step_kernels(model: ModelSpec, batch: int, class_count: int) -> StepKernels:
    """Compile a step of one rank in a process of its own and count."""
    with tempfile.TemporaryDirectory() as folder:
        environment = compute_environment(os.environ, "cpu") | {
            "MS_DEV_SAVE_GRAPHS": "2",
            "MS_DEV_SAVE_GRAPHS_PATH": folder,
            "MS_DEV_DUMP_IR_PASSES": f"{PORTABLE},{ON_CPU}",  # all of them take minutes for a large network
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, str(SCRIPT), model.model_dump_json(by_alias=True), str(batch), str(class_count)]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        tensors = json.loads((Path(folder) / "tensors.json").read_text())
        return StepKernels(**tensors, portable=_read(Path(folder), PORTABLE), on_cpu=_read(Path(folder), ON_CPU))


def _read(folder: Path, name: str) -> GraphKernels:
    """The graphs after a pass, numbered in the order in which they were compiled."""
    files = [path for path in folder.rglob("*.ir") if name in path.name]
    network, step = sorted(files, key=lambda path: int(path.stem.rpartition("_")[2]))
    return GraphKernels(step=_count(step), network=_count(network))


def _count(path: Path) -> Counter[str]:
    with path.open() as lines:
        kinds = [found[1] for line in lines if (found := NODE.match(line))]
    return Counter(kind for kind in kinds if kind not in NO_KERNELS)
