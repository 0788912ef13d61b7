"""Lives of jobs beside each other on one control plane, each in a namespace of its own whose operators die in it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.fakes.api_proxy import ApiProxy
from support.processes import whole_life
from support.processes.mortal_operator import VERDICT, Deaths, MortalOperator, kind_of
from support.processes.operator_process import GROUPS
from support.processes.release import Release
from support.processes.release_pods import Voices
from support.processes.training_jobs import TrainingJobs
from testbed.control_plane.cluster import ControlPlane
from testbed.control_plane.pods import own_namespace
from testbed.fake_nodes.nodes import FakeNodes

AT_ONCE = 4
"""Lives beside each other: most of each is waiting."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """What is to be lived."""

    name: str
    """Of its namespace."""
    releases: Sequence[Release]
    """Whose operators take turns, death by death, and whose pods may be there."""
    deaths: Deaths
    course: Callable[[TrainingJobs, Sequence[ApiProxy]], dict[str, Any]] = lambda jobs, _: whole_life.live(jobs)
    """What befalls its jobs, and what stands between operators and API server; a status to be judged."""


@dataclass(frozen=True, kw_only=True)
class Lived:
    """What came of it."""

    name: str
    status: dict[str, Any]
    writes: list[str]
    died_after: list[str]
    """Writes, and those after which the operator died, as MortalOperator tells them."""


def unharmed(lives: Sequence[Lived]) -> set[tuple[str, str, str]]:
    """Kinds of writes, as `kind_of` has them, that belong to each of these lives and after which nobody died in any."""
    written = set.intersection(*({kind_of(write) for write in life.writes} for life in lives))
    return written - {kind_of(write) for life in lives for write in life.died_after if write != VERDICT}


def live_all(
    plane: ControlPlane, nodes: FakeNodes, folder: Path, lives: Sequence[Life], at_once: int = AT_ONCE
) -> list[Lived]:
    """Live lives, some at once."""
    with ExitStack() as stack, ThreadPoolExecutor(at_once) as threads:
        # Here, since a proxy's thread ends with the one that began it.
        proxies = [[stack.enter_context(ApiProxy(plane, of.user, GROUPS)) for of in life.releases] for life in lives]
        return list(threads.map(lambda life, own: _live(plane, nodes, folder, life, own), lives, proxies))


def _live(plane: ControlPlane, nodes: FakeNodes, folder: Path, life: Life, proxies: list[ApiProxy]) -> Lived:
    """Live one."""
    arguments = ("--no-leader-election", "--namespace", life.name)
    operators = [
        release.operator(plane, folder / f"{life.name}-{turn}", *arguments, **whole_life.QUICK)
        for turn, release in enumerate(life.releases)
    ]
    with own_namespace(plane.admin, life.name), MortalOperator(operators, proxies, life.deaths) as mortal:
        jobs = TrainingJobs(plane.admin, life.name)
        jobs.bind_claims()
        nodes.play(life.name, whole_life.by_attempt(Voices(jobs, *life.releases)))
        status = life.course(jobs, proxies)
    return Lived(name=life.name, status=status, writes=mortal.writes, died_after=mortal.died_after)
