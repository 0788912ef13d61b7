"""Real trainings under drawn faults: `make chaos-trainings` (SEED=…, RUNS=…).

`arcface run` trains a tiny network on two ranks in two pods of this machine; processes are killed and stopped at drawn
moments, the disk refuses, the run itself dies and is begun again. Each must end well, with the images of every step
those of a run that nothing befell, its last checkpoint whole, and no process left. STALL_SECONDS is for machines that
take longer than a minute to compile.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from arcface_operator.local.kubelet import orphans
from support.builders.jobs import job_document
from support.processes.trainings import ARCFACE, write_image_folder
from training.chaos import blows

HERE = Path(__file__).parent
RANKS, BATCH, EPOCHS, IMAGES = 2, 4, 40, 48
TOTAL_STEPS = EPOCHS * IMAGES // (RANKS * BATCH)
SPEC = {
    "model": {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16},
    "training": {"epochs": EPOCHS, "batchSize": BATCH, "optimizer": {"learningRate": 0.001}},
    "workers": {"accelerator": "cpu", "replicas": RANKS},
    "checkpoint": {"claimName": "checkpoints", "everySteps": 20},
    "runPolicy": {"backoffLimit": 5, "stallSeconds": int(os.environ.get("STALL_SECONDS", "60"))},
}
PATIENCE_SECONDS = 1200.0
DISK_SECONDS = 3.0
SHIM = "kubelet.shim"
"""The kubelet's own process of a pod, whose command has the launcher's in it."""


class BrokenError(Exception):
    """What must hold does not."""


@dataclass
class Training:
    """One training in a folder of its own."""

    folder: Path
    faces: Path
    disk: Path
    """The library of the disk that refuses."""

    def __post_init__(self) -> None:
        for name in ("ids", "checkpoints"):
            (self.folder / name).mkdir(parents=True)
        self.job = self.folder / "job.yaml"
        self.job.write_text(yaml.safe_dump(job_document("tiny", **SPEC)))
        self.errno = self.folder / "errno"
        self.deadline = time.monotonic() + PATIENCE_SECONDS

    @property
    def checkpoints(self) -> Path:
        """Folder of its checkpoints."""
        return self.folder / "checkpoints" / "tiny"

    def start(self) -> None:
        """As a user does, the first time and again."""
        volumes = (f"faces={self.faces}", f"checkpoints={self.folder / 'checkpoints'}")
        options = [option for volume in volumes for option in ("--volume", volume)]
        variables = {
            "PYTHONPATH": str(HERE.parent / "recorder"),
            "IDS_FOLDER": str(self.folder / "ids"),
            "LD_PRELOAD": str(self.disk),
            "DISK_FOLDER": str(self.folder / "checkpoints"),
            "DISK_ERRNO": str(self.errno),
        }
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [ARCFACE, "run", "-f", self.job, *options, "--workdir", self.folder / "work"],
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self) -> int:
        """Its exit status."""
        try:
            return self.process.wait(max(1.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise BrokenError("it does not end") from None

    def steps(self) -> list[dict[int, set[str]]]:
        """By rank and step: the images that were taken; a line that a kill has cut off counts for nothing."""
        found: list[dict[int, set[str]]] = [{} for _ in range(RANKS)]
        for path in (self.folder / "ids").iterdir():
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    step, _, images = line.strip().partition(" ")
                    found[int(path.name.split(".")[0])].setdefault(int(step), set()).add(images)
        return found

    def wait_for(self, step: int) -> bool:
        """Until a step is begun; False where the run has ended before."""
        while max(max(steps, default=0) for steps in self.steps()) < step:
            if self.process.poll() is not None:
                return False
            if time.monotonic() > self.deadline:
                raise BrokenError(f"it does not come to step {step}")
            time.sleep(0.05)
        return True

    def strike(self, blow: blows.Blow) -> bool:
        """Whether it met somebody."""
        if not self.wait_for(blow.step):
            return False
        time.sleep(blow.seconds)
        if blow.kind in blows.SIGNALS:
            return self._to_process(blow)
        if blow.kind in blows.DISKS:
            self.errno.write_text(str(blows.DISKS[blow.kind]))
            time.sleep(DISK_SECONDS)
            self.errno.unlink()
            return True
        return self._to_run(blow.kind)

    def _to_process(self, blow: blows.Blow) -> bool:
        pattern, number = blows.SIGNALS[blow.kind]
        commands = {pid: _command(pid) for pid in orphans.marked(self.folder / "work")}
        found = sorted(pid for pid, command in commands.items() if pattern in command and SHIM not in command)
        if not found:
            return False
        with suppress(ProcessLookupError):
            os.kill(found[blow.victim % len(found)], number)
        return True

    def _to_run(self, kind: str) -> bool:
        if self.process.poll() is not None:
            return False
        self.process.send_signal(blows.TO_THE_RUN[kind])
        self.wait()
        if kind == "checkpoint torn":
            for newest in sorted(self.checkpoints.glob("step-*"))[-1:]:
                victim = max(newest.glob("*.safetensors"), key=lambda path: path.stat().st_size)
                os.truncate(victim, victim.stat().st_size // 2)
        self.start()
        return True

    def digest(self) -> str:
        """Of the images of all steps.

        Raises:
            BrokenError: where a step is missing, or was taken with other images the second time.
        """
        for rank, steps in enumerate(self.steps()):
            if sorted(steps) != list(range(TOTAL_STEPS)):
                raise BrokenError(f"rank {rank} lacks steps {sorted({*range(TOTAL_STEPS)} - {*steps})[:5]}")
            if twice := [step for step, images in steps.items() if len(images) > 1]:
                raise BrokenError(f"rank {rank} took other images the second time at steps {twice[:5]}")
        lines = (f"{rank} {step} {steps[step]}" for rank, steps in enumerate(self.steps()) for step in sorted(steps))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def check(self, wanted: str | None) -> str:
        """What must hold of a training that is over; its digest."""
        if (code := self.wait()) != 0:
            raise BrokenError(f"exit status {code}: {(self.folder / 'output').read_text(errors='replace')[-2000:]}")
        if left := orphans.marked(self.folder / "work"):
            raise BrokenError(f"left: {[_command(pid) for pid in left]}")
        newest = self.checkpoints / f"step-{TOTAL_STEPS:08d}"
        verified = subprocess.run(
            [ARCFACE, "checkpoint", "verify", newest], capture_output=True, text=True, check=False
        )
        if verified.returncode:
            raise BrokenError(f"the last checkpoint: {verified.stdout}{verified.stderr}")
        if (found := self.digest()) != (wanted or found):
            raise BrokenError("other images than those of a run that nothing befell")
        return found

    def end(self) -> None:
        """Whatever is left of a broken one."""
        for pid in [self.process.pid, *orphans.marked(self.folder / "work")]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def play(training: Training, story: tuple[blows.Blow, ...], wanted: str | None) -> str:
    """One training to its end; its digest."""
    training.start()
    try:
        for blow in story:
            _tell(f"  {blow}{'' if training.strike(blow) else ' (met nobody)'}")
        return training.check(wanted)
    finally:
        training.end()


def main() -> int:
    """Exit status 1 where something was broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    broken, kinds = [], Counter[str]()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        faces, disk = write_image_folder(folder / "faces"), folder / "disk.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", disk, HERE / "failing_disk.c", "-ldl"], check=True)
        wanted = play(Training(folder / "alone", faces, disk), (), None)
        for seed in range(options.seed, options.seed + options.runs):
            story, began = blows.draw(seed, TOTAL_STEPS), time.monotonic()
            _tell(f"seed {seed}")
            try:
                play(Training(folder / str(seed), faces, disk), story, wanted)
            except BrokenError as error:
                broken.append(seed)
                _tell(f"  BROKEN: {error}")
            kinds.update(blow.kind for blow in story)
            _tell(f"  over after {time.monotonic() - began:.0f} s")
    counts = "; ".join(f"{kind} {count}" for kind, count in kinds.items())
    _tell(f"{options.runs} trainings, broken: {broken or 'none'}; {counts}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
