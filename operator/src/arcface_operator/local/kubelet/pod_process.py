"""A pod that runs as a process of this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from arcface_api.errors import explained
from arcface_operator.local.kubelet.shim import BY_SIGNAL

TAIL_BYTES = 4096


@dataclass(frozen=True)
class PodProcess:
    """A started pod. The process is the shim, which passes signals on and returns the command's exit status."""

    name: str
    address: str
    grace_seconds: float
    log: Path
    termination_log: Path
    shim: "subprocess.Popen[bytes]"

    def exit_code(self) -> int | None:
        """Exit status as a container's, None while the pod runs."""
        code = self.shim.poll()
        return code if code is None or code >= 0 else BY_SIGNAL - code

    def stop(self) -> None:
        """Ask the command to save and end; it is killed when its grace period has passed."""
        self.shim.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the command now."""
        self.shim.send_signal(signal.SIGUSR1)

    def last_words(self) -> bytes:
        """Termination message, or what Kubernetes would fall back to: the end of the log."""
        with explained(self.log.parent, "what a pod has left cannot be read", "give another directory with --workdir"):
            if self.termination_log.is_file() and (message := self.termination_log.read_bytes()):
                return message
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                return log.read()


def start_shim(
    arguments: list[str], environment: Mapping[str, str], folder: Path, log: Path, grace_seconds: float
) -> "subprocess.Popen[bytes]":
    """Start a command under a shim, its output appended to the log."""
    shim = [sys.executable, "-m", "arcface_operator.local.kubelet.shim", str(os.getpid()), str(grace_seconds)]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*shim, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
