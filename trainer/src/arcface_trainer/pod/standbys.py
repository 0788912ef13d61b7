"""A process on standby for each that a pod runs: ranks that start anew in their pod find MindSpore imported.

Started when all ranks of the pod have made a step, so that they slow no start down, and killed with the launcher. An
unprivileged process cannot take a low priority back, so they have that of the ranks: what they compute is an import
each, once in a launch.
"""

import logging
import subprocess

from arcface_api.contract import pod_environment as pods
from arcface_trainer import shared_memory, standby

LOG = logging.getLogger(__name__)
CHANGING = frozenset({pods.LAUNCH, pods.SCHEDULER_HOST, pods.SCHEDULER_PORT, pods.HCCL_SUPER_POD})
"""Variables that differ between launches of a pod."""
MEBIBYTE = 2**20
OWN_BYTES = 256 * MEBIBYTE
"""Memory that a process on standby has for itself: 176 MiB measured on a CPU, nobody knows on a card."""
SHARE = 0.25
"""Of the memory that is free once the ranks train: the rest is for what they have not needed yet."""


class Standbys:
    """Those of one pod, from launch to launch."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], standby.StandbyProcess] = {}
        self._begun: dict[tuple[str, str], standby.Program] = {}
        """What runs and has nobody on standby."""

    def start(self, program: standby.Program, *own_arguments: str) -> subprocess.Popen[bytes]:
        """Have a process run this, the one on standby if there is one."""
        place = _place(program)
        self._begun[place] = program
        waiting = self._waiting.pop(place, None)
        process = None if waiting is None else waiting.begin(program, list(own_arguments), CHANGING)
        LOG.info("starts module=%s number=%s was_on_standby=%s", *place, process is not None)
        return program.start(list(own_arguments)) if process is None else process

    def prepare(self) -> None:
        """Start what is missing where there is memory for it, once for each process that was started."""
        missing, self._begun = self._begun, {}
        if not missing:
            return
        free = shared_memory.left_bytes()
        if len(missing) * OWN_BYTES > SHARE * free:
            LOG.info("nothing is on standby: %d MiB of memory are free", free // MEBIBYTE)
            return
        for place, program in missing.items():
            self._waiting[place] = standby.StandbyProcess(program)

    def close(self) -> None:
        """End all that wait."""
        while self._waiting:
            self._waiting.popitem()[1].end()


def _place(program: standby.Program) -> tuple[str, str]:
    """What a process is in its pod, whichever launch it is of."""
    return program.module, program.environment[pods.NODE_ID]
