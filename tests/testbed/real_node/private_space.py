"""A mount and process namespace for containerd, the kubelet and all containers.

/run, /var/lib and /var/log are fresh in it, so nothing is written to this machine's own, and the kernel settings that
the kubelet insists on are files laid over /proc/sys. When its first process is killed, Linux kills every other one,
shims and containers included, and all mounts go.
"""

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.programs.commands import TestbedError, run, tied_to_us
from testbed.real_node.network import NodeNetwork

FRESH = ("/run", "/var/lib", "/var/log")
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet's protectKernelDefaults expects; it would write them machine-wide otherwise."""
READY = "ready"


class PrivateSpace:
    """The namespaces while the context is open; they also join the given network."""

    def __init__(self, network: NodeNetwork, workdir: Path) -> None:
        if any(workdir.resolve().is_relative_to(hidden) for hidden in FRESH):
            raise TestbedError(
                f"{workdir}: the node's files cannot lie under {', '.join(FRESH)}, which are fresh in it"
            )
        self.network = network
        self.workdir = workdir

    def __enter__(self) -> Self:
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.holder = subprocess.Popen(
            [*self.network.command_prefix, *unshare, "sh", "-e", str(self.write_first_process())],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = self.holder.stdout.readline().strip()
        if said != READY:
            self.__exit__(None, None, None)
            raise TestbedError(f"no mount and process namespace for the node: {said or 'unshare ended'}")
        self.first_process = int(Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Process 1 ends after all others of its namespace, and its parent after it.
        os.kill(getattr(self, "first_process", self.holder.pid), signal.SIGKILL)
        self.holder.wait()
        self.holder.stdout.close()

    def write_first_process(self) -> Path:
        """Script of process 1: it makes the mounts and then collects orphans."""
        lines = [f"mount -t tmpfs tmpfs {folder}" for folder in FRESH]
        for name, value in KERNEL_SETTINGS.items():
            source = self.workdir / name.replace("/", ".")
            source.write_text(value + "\n")
            lines.append(f"mount --bind {source} /proc/sys/{name}")
        lines += [f"echo {READY}", "sleep infinity &", "while :; do wait; done"]
        script = self.workdir / "first-process.sh"
        script.write_text("\n".join(lines) + "\n")
        return script

    @property
    def command_prefix(self) -> list[str]:
        """What comes before a command that is to run inside; SIGTERM to it reaches the command."""
        enter = ["nsenter", f"--target={self.first_process}", "--mount", "--pid", "--net", "--"]
        return [*tied_to_us(enter), "setpriv", "--pdeathsig", "TERM"]

    def path(self, inside: str) -> Path:
        """A file of the private space as processes of this machine reach it."""
        return Path(f"/proc/{self.first_process}/root{inside}")

    def run(self, *command: str) -> str:
        """Standard output of a command that ran inside."""
        return run([*self.command_prefix, *command])
