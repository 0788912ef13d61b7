"""Tests that are killed leave no process behind, and the next ones remove the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.waiting import wait_until
from testbed.programs.commands import run
from testbed.real_node.cgroup_tree import CgroupTree, hierarchies
from testbed.real_node.network import NodeNetwork

pytestmark = [pytest.mark.real_node, pytest.mark.usefixtures("able_machine")]
NAME = "arcface-killed"
VICTIM = f"""
import subprocess, sys, time
from pathlib import Path
from testbed.real_node.cgroup_tree import CgroupTree
from testbed.real_node.network import NodeNetwork
from testbed.real_node.private_space import PrivateSpace
with NodeNetwork("{NAME}") as network, CgroupTree("{NAME}"), PrivateSpace(network, Path(sys.argv[1])) as space:
    child = subprocess.Popen([*space.command_prefix, "sleep", "infinity"])
    print(space.first_process, network.holder.pid, flush=True)
    child.wait()
"""


def test_a_killed_run_leaves_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", VICTIM, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as victim:
        pids = list(map(int, victim.stdout.readline().split()))
        assert len(pids) == 2
        assert traces()
        victim.kill()
    for pid in pids:
        wait_until(lambda pid=pid: has_ended(pid))
    with NodeNetwork(NAME), CgroupTree(NAME):
        assert traces()
    assert traces() == []


def traces() -> list[str]:
    """What there is of the network and the cgroups on this machine."""
    links = [line for line in run(["ip", "-oneline", "link", "show"]).splitlines() if NAME in line]
    return links + [str(path / NAME) for path in hierarchies() if (path / NAME).exists()]


def has_ended(pid: int) -> bool:
    """Whether a process is gone or only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
