"""Processes that have imported what they run and wait for an order: importing MindSpore takes seconds, an order none.

A launcher keeps one for each process that it may have to start anew. An import is the same for every start and takes
no device: MindSpore opens a card when it is set up (`mindspore.set_device`), and what CANN is begun with may be chosen
between the two (`device_context.ascend.op_debug.aclinit_config`); nobody has tried that on a card yet. None is forked
from one that has imported: MindSpore has threads by then, which a fork does not copy, and their locks, which it does.

Imports no other room.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace

WAITING = "standby"
"""The only argument of a process that is to wait for its others."""


def arguments() -> list[str]:
    """Of this process: those that it was started with, or those of the order that it waits for.

    The process ends here where nobody is left who could give the order.
    """
    given = sys.argv[1:]
    if given != [WAITING]:
        return given
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        sys.exit()
    order = json.loads(line)
    os.environ.update(order["environment"])
    return list(order["arguments"])


@dataclass(frozen=True)
class Program:
    """A process of a pod before it runs."""

    module: str
    environment: dict[str, str]
    """All of it."""
    is_logged: bool = False
    """Whether its output is for the launcher to read."""
    cores: frozenset[int] = frozenset()
    """That it may use; all where there is none."""

    def start(self, own_arguments: list[str], stdin: int | None = None) -> subprocess.Popen[bytes]:
        """Start a process that dies with this one."""
        # A session of its own keeps a terminal's Ctrl-C from reaching it beside the signal that is passed on.
        process = subprocess.Popen(
            [sys.executable, "-m", "arcface_api.parent_death", str(os.getpid()), self.module, *own_arguments],
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE if self.is_logged else None,
            stderr=subprocess.STDOUT if self.is_logged else None,
            start_new_session=True,
        )
        if self.cores:
            os.sched_setaffinity(process.pid, self.cores)
        return process


class StandbyProcess:
    """The launcher's end of a process that waits."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._process = program.start([WAITING], subprocess.PIPE)

    def begin(
        self, program: Program, own_arguments: list[str], changing: frozenset[str]
    ) -> subprocess.Popen[bytes] | None:
        """Give the order; the process that carries it out, None where this one cannot: then it is ended.

        Args:
            program: what is to run.
            own_arguments: of this run.
            changing: variables that the imports do not look at.
        """
        own, new = self._program.environment, program.environment
        changes = {name for name in own.keys() | new.keys() if own.get(name) != new.get(name)}
        order = {"environment": {name: new[name] for name in changes & new.keys()}, "arguments": own_arguments}
        is_alike = replace(self._program, environment=new) == program and changes <= changing & new.keys()
        if is_alike and self._tell(json.dumps(order).encode() + b"\n"):
            return self._process
        self.end()
        return None

    def end(self) -> None:
        """End the process."""
        with self._process:
            self._process.kill()

    def _tell(self, line: bytes) -> bool:
        """Whether the process is there to be told."""
        pipe = self._process.stdin
        if pipe is None or self._process.poll() is not None:
            return False
        self._process.stdin = None  # `communicate` would look after it
        with pipe:
            try:
                os.write(pipe.fileno(), line)
            except BrokenPipeError:
                return False
        return True
