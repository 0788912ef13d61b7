"""Where the seconds of a rank's start go: `make bench-start`.

One and two ranks of a small training as processes of this machine, started for the first time and again in the same
pod, where the compiled step is kept. Of two ranks the slower one counts, part by part.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from arcface_api.contract.pod_environment import STATES
from arcface_trainer.device import compute_environment
from arcface_trainer.shared_memory import folder_of_launcher
from support.processes.trainings import write_image_folder, write_run_config
from testbed.programs.processes import free_port

RANK = Path(__file__).with_name("start_of_a_rank.py")
DEADLINE_SECONDS = 300


def main() -> None:
    print("cores", os.cpu_count(), "load", os.getloadavg()[0])
    for world_size in (1, 2):
        with tempfile.TemporaryDirectory() as folder, folder_of_launcher() as states:
            images = write_image_folder(Path(folder) / "images")
            starts = [started(Path(folder), name, images, world_size, str(states)) for name in ("first", "again")]
        print(f"\n{'ranks: ' + str(world_size):28}{'first start':>22}{'again':>22}\n{'':28}{'wall s  computed s':>22}")
        for part in starts[0][0]:
            cells = [max(rank[part] for rank in start) for start in map(durations, starts)]
            print(f"{part:28}" + "".join(f"{wall:14.2f}{computed:8.2f}" for wall, computed in cells))
        ends = [max(tuple(list(rank.values())[-1]) for rank in start) for start in starts]
        print(f"{'together':28}" + "".join(f"{wall:14.2f}{computed:8.2f}" for wall, computed in ends))


def durations(start: list[dict[str, list[float]]]) -> list[dict[str, tuple[float, float]]]:
    """Of each part, by rank, from the moments of their ends."""
    found = []
    for marks in start:
        ends = [(0.0, 0.0), *map(tuple, marks.values())]
        parts = [tuple(b - a for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(ends)]
        found.append(dict(zip(marks, parts, strict=True)))
    return found


def started(folder: Path, name: str, images: Path, world_size: int, states: str) -> list[dict[str, list[float]]]:
    """The moments at which the parts of a start had ended, by rank."""
    own = folder / name
    own.mkdir()
    ranks = {"worldSize": world_size, "perPod": world_size, "accelerator": "cpu", "rendezvous": "dynamic"}
    config = write_run_config(folder / "run.json", images, own / "checkpoints", ranks=ranks, metricsPort=0)
    content = json.loads(config.read_text())
    content["checkpoint"]["directory"] = str(folder / "checkpoints")
    config.write_text(json.dumps(content))
    environment = compute_environment(os.environ, "cpu") | {"MS_WORKER_NUM": str(world_size), STATES: states}
    role = {}
    if world_size > 1:
        environment |= {"MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": str(free_port()), "MS_ROLE": "MS_SCHED"}
        role = {"MS_ROLE": "MS_WORKER"}
        command = [sys.executable, "-m", "arcface_trainer.distributed.scheduler"]
        scheduler = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    reports = [own / f"rank-{rank}.json" for rank in range(world_size)]
    processes = [
        subprocess.Popen(
            [sys.executable, RANK, config, report, str(rank)],
            env=environment | role | {"MS_NODE_ID": str(rank)},
            stdout=subprocess.DEVNULL,
        )
        for rank, report in enumerate(reports)
    ]
    for process in processes:
        assert process.wait(DEADLINE_SECONDS) == 0
    if world_size > 1:
        scheduler.kill()
        scheduler.wait()
    return [json.loads(report.read_text()) for report in reports]


if __name__ == "__main__":
    main()
