"""A release of ours: the one under test, or another that is kept as wheels, which go before it on the path of Python.

    with Release(folder, wheels) as release, release.operator(plane, folder) as operator:

Operators are forked from a process that has loaded the release once: a start takes tenths of a second, not seconds.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.processes.operator_process import ACCOUNT, NAMESPACE, OperatorProcess, grant_rights
from testbed.control_plane.cluster import ControlPlane
from testbed.fake_nodes.scripts import Manifest

PROGRAM = Path(__file__).with_name("release_program.py")
PREVIOUS = sorted((Path(__file__).parents[2] / "cluster" / "upgrade" / "previous").glob("*.whl"))
"""Wheels of the release before this one; the README beside them says how they are made."""
POLL_SECONDS = 0.01


class Release:
    """The process of a release while the context is open."""

    def __init__(self, folder: Path, wheels: Iterable[Path] = ()) -> None:
        """Unpack the wheels into the folder; without any it is the release that is installed here."""
        self.folder = folder
        self.image = f"arcface-trainer:{folder.name}"
        """Of its pods, where a job names none."""
        self.account = ACCOUNT
        self.variables: dict[str, str] = {}
        """What makes a process of this environment one of the release."""
        for wheel in wheels:
            zipfile.ZipFile(wheel).extractall(folder)
            self.variables = {"PYTHONPATH": str(folder)}
            self.account = f"{ACCOUNT}-{folder.name}"
        self.turn = threading.Lock()

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-P", PROGRAM],
            env={**os.environ, **self.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate()  # the end of its input ends it, and its operators die with it

    def ask(self, what: str, **request: Any) -> Any:
        """The release's answer; threads ask one after the other."""
        with self.turn:
            self.process.stdin.write(json.dumps({"what": what, **request}) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    @cached_property
    def installation(self) -> Mapping[str, Any]:
        """Resource definition, rights and names of settings; `origin` is where the running code lies."""
        return self.ask("installation")

    @property
    def user(self) -> str:
        """Whom its operators are to the API server: each release has the rights of its own chart."""
        return f"system:serviceaccount:{NAMESPACE}:{self.account}"

    def grant_rights(self, plane: ControlPlane) -> None:
        """Give its operators their rights."""
        grant_rights(plane, self.account, self.installation["rights"])

    def operator(self, plane: ControlPlane, folder: Path, *arguments: str, **settings: object) -> OperatorProcess:
        """One replica, with those of the settings that the release knows."""
        settings = {"trainerImage": self.image, **settings}
        operator = OperatorProcess(plane, folder, *arguments, settings=settings, user=self.user, launch=self.launch)
        wanted = json.loads(operator.settings.read_text())
        known = {name: value for name, value in wanted.items() if name in self.installation["settings"]}
        operator.settings.write_text(json.dumps(known))
        return operator

    def launch(self, arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> "Fork":
        """Start `arcface` with these arguments."""
        return Fork(self, self.ask("start", arguments=arguments, variables=variables, log=str(log)))

    def speech(self, pod: Manifest, run_config: str) -> dict[str, str]:
        """What the release's own code makes a pod say: its documents by name, or its `refusal` of the configuration."""
        items = pod["spec"]["containers"][0]["env"]
        variables = {item["name"]: item["value"] for item in items if "value" in item}
        return self.ask("speak", variables=variables, config=run_config)


class Fork:
    """A process that a release has forked, to be handled like one of `subprocess`."""

    def __init__(self, release: Release, pid: int) -> None:
        self.release = release
        self.pid = pid
        self.status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        if self.status is None:
            self.status = self.release.ask("poll", process=self.pid)
        return self.status

    def wait(self, timeout: float = 60.0) -> int:
        """Its exit status once it has ended."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("arcface operator", timeout)
            time.sleep(POLL_SECONDS)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)
