"""How long a training of two pods is away when a rank is killed: `python bench_recovery.py [TIMES [SEED]]`.

Two pods with a rank each, as processes of this machine by the very decisions of the operator, train a tiny network.
After a step that is drawn by a seed, as often as asked and in the same run, a rank is killed (SIGKILL), which is
started anew in its pod; the launcher of a pod, which is made anew alone; a rank, with all pods made anew. No kubelet is
in it, which shows an annotation within a second and needs a second to tell of a pod's end; nor is a card.

Of each recovery is told, in seconds after the kill: when the operator has decided (noticed), when all processes have
been started or given their order (launched: up to there the time is ours), when rank 0 had MindSpore imported (begun)
and when it had made a step (stepped), by the moments of the pods' logs; what lies between the last two by its parts;
and the steps made twice.
"""

import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arcface_operator.decision.recovery import ladder
from arcface_operator.decision.recovery.ladder import Rung
from arcface_operator.local.kubelet import directories, orphans
from arcface_operator.local.progress import Narrator
from arcface_operator.local.reconciler import TICK_SECONDS, LocalReconciler, StopRequests
from arcface_operator.local.runner import ON_THIS_MACHINE, LocalRun
from support.builders.jobs import make_job
from support.fakes.local_in_world import Notes
from support.processes.trainings import write_image_folder

EVERY_STEPS = 20
PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Times:
    """One recovery, in seconds after the kill."""

    noticed: float
    launched: float
    begun: float
    stepped: float
    parts: dict[str, float]
    """Of rank 0's start once it has begun."""
    steps_lost: int


def job(times: int):
    return make_job(
        "bench",
        model={"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16},
        data={"claimName": "faces"},
        training={"epochs": 100_000, "batchSize": 4, "optimizer": {"learningRate": 0.001}},
        workers={"accelerator": "cpu", "replicas": 2},
        checkpoint={"claimName": "checkpoints", "everySteps": EVERY_STEPS},
        runPolicy={"backoffLimit": times},
    )


@contextmanager
def training(folder: Path, times: int, rung: Rung) -> Iterator[LocalReconciler]:
    settings = ON_THIS_MACHINE.model_copy(update={"restarts_in_place": rung is not Rung.WHOLE_GANG})
    claims = {"faces": folder / "faces", "checkpoints": folder / f"checkpoints-{rung.value}"}
    run = LocalRun(job(times), settings, claims)
    view = Notes()
    with directories.locked_workdir(folder / f"work-{rung.value}") as workdir:
        directories.create_claims(claims)
        with run.open_cluster(workdir, view, StopRequests()) as cluster:
            reconciler = LocalReconciler(run.job, cluster, settings, Narrator(view, workdir.logs), StopRequests())
            yield reconciler


def ranks(reconciler: LocalReconciler) -> set[int]:
    """Processes of ranks, which have a beat, unlike those on standby."""
    return {pid for pid in processes(reconciler, "arcface_trainer.training.rank") if has_beat(pid)}


def has_beat(pid: int) -> bool:
    with suppress(OSError):
        return any(link.readlink().suffix == ".beat" for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def told_since(reconciler: LocalReconciler, moment: float) -> list[tuple[float, str]]:
    """Lines of the pods' logs since a moment of the wall's clock, with theirs."""
    lines = []
    for log in reconciler.pods.kubelet.workdir.logs.glob("*"):
        for line in log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                whole, fraction = time.strptime(line[:19], "%Y-%m-%d %H:%M:%S"), float(f"0.{line[20:23]}")
                lines.append((time.mktime(whole) + fraction, line))
    return sorted(told for told in lines if told[0] >= moment)


def processes(reconciler: LocalReconciler, word: str) -> set[int]:
    """Processes of pods with a word in their command; the shims of pods are none."""
    commands = {pid: command(pid) for pid in orphans.marked(reconciler.pods.kubelet.workdir.pods)}
    return {pid for pid, text in commands.items() if word in text and "kubelet.shim" not in text}


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def look_until(reconciler: LocalReconciler, condition: Callable[[], bool]) -> float:
    """Look as `arcface run` does; the moment at which something holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if reconciler.look() or time.monotonic() > deadline:
            sys.exit(f"gave up: {reconciler.job.status.to_json()}")
        time.sleep(TICK_SECONDS)
    return time.monotonic()


def recover(reconciler: LocalReconciler, step: int, victim: int, rung: Rung) -> Times:
    """Kill a rank or a launcher after a step, and follow what is done about it."""

    def is_past() -> bool:
        progress = reconciler.job.status.progress
        return progress is not None and progress.step >= step

    look_until(reconciler, is_past)
    restarts = reconciler.job.status.restarts
    victims = processes(reconciler, "--termination-log") if rung is Rung.ONE_POD else ranks(reconciler)
    os.kill(sorted(victims)[victim], signal.SIGKILL)
    killed, killed_at = time.monotonic(), time.time()
    noticed = look_until(reconciler, lambda: reconciler.job.status.restarts > restarts)
    look_until(reconciler, lambda: not ladder.is_open(reconciler.job.status))
    lines = told_since(reconciler, killed_at)
    launched, begun, stepped = (
        max(moment for moment, line in lines if text in line) - killed_at
        for text in (" starts module=", " rank begins ", " started step=")
    )
    account = next(line.partition("seconds: ")[2].split() for _, line in reversed(lines) if " started step=" in line)
    parts = {name: float(seconds) for name, seconds in (part.split("=") for part in account)}
    last = reconciler.job.status.recoveries[-1]
    return Times(noticed - killed, launched, begun, stepped, parts, last.steps_lost or 0)


def measure(folder: Path, times: int, seed: int, rung: Rung) -> list[Times]:
    draw = random.Random(seed)
    found = []
    with training(folder, times, rung) as reconciler:
        for _ in range(times):
            now = 0 if (progress := reconciler.job.status.progress) is None else progress.step
            step, victim = now + draw.randint(2 * EVERY_STEPS, 6 * EVERY_STEPS), draw.randrange(2)
            found.append(recover(reconciler, step, victim, rung))
            print(f"  {reconciler.job.status.recoveries[-1].rung}: {found[-1]}", flush=True)
        reconciler.pods.kill()
    return found


def tell(name: str, found: list[Times]) -> None:
    columns = {what: [getattr(each, what) for each in found] for what in ("noticed", "launched", "begun", "stepped")}
    columns |= {f"of it {part}": [each.parts[part] for each in found] for part in found[0].parts}
    lost = [each.steps_lost for each in found]
    print(f"{name}, {len(found)} kills; steps lost {statistics.median(lost):g} (most {max(lost)})")
    for what, seconds in columns.items():
        print(f"  {what:20}{statistics.median(seconds):8.2f} s (worst {max(seconds):.2f})")


def main() -> None:
    times, seed = (int(text) for text in [*sys.argv[1:], *("20", "0")[len(sys.argv) - 1 :]][:2])
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        write_image_folder(folder / "faces")
        for rung in (Rung.IN_PLACE, Rung.ONE_POD, Rung.WHOLE_GANG):
            tell(rung.value, measure(folder, times, seed, rung))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
