"""The server processes of a test cluster: each has a log file, is stopped for certain and watched while waited for."""

import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.programs.commands import TestbedError, tied_to_us

BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports that Linux gives to no outgoing connection, so that a server can come back to its own."""
LOG_LINES = 5


AGAIN_SECONDS = 1.0
"""At most, from the end of a server that is kept to its next start."""


class ServerProcess:
    """A server of this machine; it must be started by a thread that lives as long as the server."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it prints is added to its log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                tied_to_us(self.command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        """Kill it: nothing that a test server holds is kept, and an orderly end takes seconds."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def check(self) -> None:
        """TestbedError with the end of its log if it does not run."""
        if self.process is None or self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise TestbedError(f"{self.name} does not run; {self.log} ends with: {' | '.join(lines)}")

    def wait_for(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Return once the condition holds; TestbedError if the server ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise TestbedError(f"{self.name} is not ready after {seconds:.0f} s, see {self.log}")
            time.sleep(0.05)


class KeptProcess(ServerProcess):
    """A server that is started anew when it has ended, as kubelets do with the programs of a control plane."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        super().__init__(name, command, log)
        self._is_over = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start it, and from then on see to it that it runs."""
        super().start()
        threading.Thread(target=self._keep, daemon=True, name=self.name).start()

    def stop(self) -> None:
        """Kill it, for good."""
        with self._lock:
            self._is_over.set()
            super().stop()

    def _keep(self) -> None:
        while not self._is_over.wait(AGAIN_SECONDS):
            with self._lock:
                if self.process is not None and self.process.poll() is not None:
                    super().start()


def free_port() -> int:
    """A port on which nothing of this machine listens."""
    for port in random.sample(BELOW_EPHEMERAL, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise TestbedError(f"no free port between {BELOW_EPHEMERAL[0]} and {BELOW_EPHEMERAL[-1]}")
