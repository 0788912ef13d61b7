"""A day of 1,000 jobs of 8 pods, played in minutes: `python bench_scale.py --jobs 1000 --minutes 30`.

A real control plane, the operator as it is shipped with leader election and its default periods, and fake nodes whose
pods are played: each job's rank 0 tells of new figures and its launcher holds the question for news. What is simulated
is the number of lives and of what happens in them, drawn from a seed (`scale/day.py`); what goes by the clock happens
as often as in the minutes that it takes. Then a gang of 4,096 ranks loses a pod, of 512 pods and of 4,096.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench_operator import look_until, tell_of_leadership
from benchmarks.scale import day, figures, gang_restart, picture, player
from support.processes.operator_process import DEFAULTS, USER, OperatorProcess, grant_rights, serve_jobs
from testbed.control_plane.audit import AuditLog
from testbed.control_plane.claims import bind_empty_claim
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.nodes import FakeNodes
from testbed.programs.commands import tied_to_us

OBSERVED = Path(__file__).with_name("scale") / "observed_operator.py"
PATIENCE_SECONDS = 1200.0
REST_SECONDS = 15.0


def observed(notes: Path, arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start the operator under observation."""
    command = [sys.executable, str(OBSERVED), str(notes), *arguments]
    with log.open("ab") as output:
        return subprocess.Popen(tied_to_us(command), env={**os.environ, **variables}, stdout=output, stderr=output)


class Tended:
    """The operator's process: started again where it has ended, as a kubelet does."""

    def __init__(self, operator: OperatorProcess) -> None:
        self.operator = operator
        self.restarts = 0

    def look(self) -> None:
        """Start it again if it has ended."""
        if self.operator.process is not None and self.operator.process.poll() is not None:
            self.restarts += 1
            self.operator.start()

    def scrape(self) -> None:
        """Ask it for its metrics, which it may not be there to tell."""
        self.look()
        with suppress(httpx.TransportError):
            self.operator.metrics()


def play(plane: ControlPlane, tended: Tended, notes: Path, size: argparse.Namespace) -> None:
    """The day, from its jobs' creation until all of them are gone."""
    lives = day.draw_lives(size.seed, size.jobs, player.PODS_EACH)
    count = max(8, size.jobs // 2)
    with FakeNodes(plane, count, devices=0) as nodes:
        users = player.Player(plane.admin, nodes, tended.scrape, size.minutes * 60)
        furnish(plane, nodes)
        before = time.monotonic()
        populate(users, tended, [life for life in lives if life.arrives == 0])
        print(f"{size.jobs} jobs of {player.PODS_EACH} pods run after {time.monotonic() - before:.0f} s", flush=True)
        moments = [time.time()]
        began = time.monotonic()
        users.plan(lives, day.draw_losses(size.seed, count), began)
        users.play(began + users.day_seconds)
        moments.append(time.time())
        clear(users, tended)
    print(f"{len(lives)} lives were drawn; what happened came at most {users.latest:.1f} s after its time")
    tell(figures.Day(figures.read_notes(notes), plane.audit(user=USER), *moments), users, Path(size.image))


def furnish(plane: ControlPlane, nodes: FakeNodes) -> None:
    """Namespaces with their claims, whose pods are played alike."""
    for number in range(player.NAMESPACES):
        name = f"team-{number}"
        plane.kubectl("create", "namespace", name)
        for claim in ("faces", "checkpoints"):
            bind_empty_claim(plane.admin, name, claim)
        nodes.play(name, player.script_of)


def populate(users: player.Player, tended: Tended, lives: Sequence[day.Life]) -> None:
    """The jobs that are there when the day begins, with all their pods."""

    def is_whole() -> bool:
        tended.look()
        return all(users.running(life, index) for life in lives for index in range(player.PODS_EACH))

    for life in lives:
        users.create(life)
    look_until(is_whole, PATIENCE_SECONDS)


def clear(users: player.Player, tended: Tended) -> None:
    """All that is left is deleted; what the operator keeps a while later is to be nothing of it."""

    def is_empty() -> bool:
        tended.look()
        return not users.nodes.kubelets.pods and not any(map(users.children, ("services", "configmaps")))

    for number in range(player.NAMESPACES):
        path = f"/apis/{player.API_VERSION}/namespaces/team-{number}/{player.PLURAL}"
        users.api.delete(path, timeout=300).raise_for_status()
    for name in users.nodes.names:
        users.nodes.restore(name)
    look_until(is_empty, PATIENCE_SECONDS)
    time.sleep(REST_SECONDS)


def tell(played: figures.Day, users: player.Player, image: Path) -> None:
    """All figures, and the picture."""
    for line in figures.tell(played, users.deaths):
        print(line, flush=True)
    print(f"/metrics, every {player.SCRAPE_SECONDS:.0f} s: slowest answer {max(users.scrapes) * 1000:.0f} ms")
    picture.draw(played, figures.reactions(played, users.deaths), image)


def restart_gangs(plane: ControlPlane, tended: Tended, sizes: Sequence[int]) -> None:
    """A gang of 4,096 ranks loses a pod."""
    with FakeNodes(plane, 512, prefix="card") as nodes:
        for size in sizes:
            print(gang_restart.measure(plane, nodes, tended.look, size), flush=True)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1000, help="at a time; 0: no day at all")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image", default="work/scale.png")
    parser.add_argument("--gangs", type=int, nargs="*", default=[*gang_restart.SHAPES], help="pods of each")
    return parser.parse_args()


def main() -> None:
    size = arguments()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        plane = ControlPlane(folder)
        plane.audit_log = AuditLog(folder / "audit.log", users=(USER,))
        notes = folder / "notes.jsonl"
        with plane:
            plane.admin.timeout = PATIENCE_SECONDS
            serve_jobs(plane)
            grant_rights(plane)
            launch = partial(observed, notes)
            with OperatorProcess(plane, folder / "operator", settings=DEFAULTS, launch=launch) as operator:
                operator.wait_until_it_leads()
                tended = Tended(operator)
                if size.jobs:
                    play(plane, tended, notes, size)
                if size.gangs:
                    restart_gangs(plane, tended, size.gangs)
                print(f"the operator ended {tended.restarts} times and was started again")
                tell_of_leadership(plane, 0)
    print(f"load of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
