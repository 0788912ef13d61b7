"""A subtree of our own in every cgroup hierarchy, for the kubelet to keep its pods in."""

from pathlib import Path
from types import TracebackType
from typing import Self

from support.waiting import wait_until
from testbed.programs.commands import TestbedError

INHERITED = ("cpuset.cpus", "cpuset.mems")
"""A new cpuset group has none of these and no process could join it."""
CPU_SHARES = "4096"
"""All pods together weigh as much as four other processes of this machine; by default it would be one."""


class CgroupTree:
    """The subtrees while the context is open; those of a crashed run are removed first."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def path(self) -> str:
        """As the kubelet's cgroupRoot."""
        return f"/{self.name}"

    def __enter__(self) -> Self:
        self.folders = [hierarchy / self.name for hierarchy in hierarchies()]
        self.remove()
        for folder in self.folders:
            try:
                folder.mkdir()
            except OSError as error:
                raise TestbedError(f"{folder}: no cgroup can be made: {error.strerror}") from error
            for setting in INHERITED:
                if (folder / setting).exists():
                    (folder / setting).write_text((folder.parent / setting).read_text())
            if (folder / "cpu.shares").exists():
                (folder / "cpu.shares").write_text(CPU_SHARES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the subtrees; killed processes may take a moment to leave them."""
        for folder in self.folders:
            wait_until(lambda folder=folder: is_removed(folder), seconds=30)


def hierarchies() -> list[Path]:
    """Mount points of all hierarchies; the runtime makes groups in that of version 2 too where both are mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    kinds = {target: kind for _, target, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}}
    if "cgroup" not in kinds.values():
        raise TestbedError("the real node needs cgroup v1 hierarchies, and this machine has none mounted")
    return [Path(target) for target in kinds]


def is_removed(folder: Path) -> bool:
    """Remove a group after its children; false while processes are left in one of them."""
    if not folder.is_dir():
        return True
    try:
        for group in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            group.rmdir()
        folder.rmdir()
    except OSError:
        return False
    return True
