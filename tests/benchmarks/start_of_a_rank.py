"""Run by every rank of bench_start: a rank that tells when each part of its start has ended, and ends with two steps.

`start_of_a_rank.py CONFIG REPORT LOCAL_RANK`. Seconds are the wall's since the process was started by the kernel, and
those that its threads have computed, which other programs on the machine do not lengthen.
"""

import json
import os
import sys
import time
from pathlib import Path

MARKS: dict[str, tuple[float, float]] = {}


def mark(part: str) -> None:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    MARKS.setdefault(part, (time.clock_gettime(time.CLOCK_BOOTTIME) - started, time.process_time()))


mark("Python")
import mindspore  # noqa: E402, F401

mark("import of MindSpore")
from arcface_trainer.step.train_step import DeviceStep  # noqa: E402
from arcface_trainer.training import rank  # noqa: E402

mark("import of the rest")


def tell(owner: object, name: str, part: str) -> None:
    """Mark the end of a call."""
    call = getattr(owner, name)

    def told(*given, **named):
        result = call(*given, **named)
        mark(part)
        return result

    setattr(owner, name, told)


class Enough(BaseException):
    """Two steps have been made."""


def launch(own, *given, call=DeviceStep.launch, **named):
    result = call(own, *given, **named)
    result.result()
    if "first step: compiled, run" in MARKS:
        mark("second step")
        raise Enough
    mark("first step: compiled, run")
    return result


tell(rank, "open_loader", "images opened")
tell(rank, "init_distributed", "device, ranks joined")
tell(rank, "_check_same_data", "first exchange")
tell(rank, "build_train_step", "network built")
tell(rank, "TrainingLoop", "checkpoints looked for")
DeviceStep.launch = launch
try:
    rank._main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
except Enough:
    Path(sys.argv[2]).write_text(json.dumps(MARKS))
    deadline = time.monotonic() + 60
    size = int(os.environ["MS_WORKER_NUM"])
    while len(list(Path(sys.argv[2]).parent.glob("rank-*.json"))) < size and time.monotonic() < deadline:
        time.sleep(0.05)
os._exit(0)
