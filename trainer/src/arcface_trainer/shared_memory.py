"""A launcher's folder in shared memory, for what is to outlive its ranks and not itself, and how much may lie there.

Elsewhere than in a pod nobody empties shared memory: a launcher that was killed leaves its folder, which the next one
removes. The lock in it, which the kernel holds as long as the launcher's process lives, tells the two apart.

Shared memory counts as the container's own: its limit and the node's memory bound it as much as the size of its mount.
Names of files and figures: kernel.org, admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst and filesystems/proc.rst.
Imports no other room.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from arcface_api.contract.pod_environment import SHARED_MEMORY_MOUNT

PREFIX = "arcface-states-"
GRAPH_PREFIX = "graph-"
"""Of folders with compiled steps, in a launcher's."""
LOCK = "lock"
KIBIBYTE = 1024
CGROUPS = (
    ("memory.max", "memory.current", ""),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_"),
)
"""By version 2 and 1: limit and use of this container, and what the names of the use's parts begin with."""
RECLAIMED = ("inactive_file", "active_file")
"""Parts of the use that the kernel takes back before it ends anybody; shared memory is none of them."""


@contextlib.contextmanager
def folder_of_launcher(mount: Path = Path(SHARED_MEMORY_MOUNT)) -> Iterator[Path | None]:
    """A folder that is gone afterwards; None where there is no shared memory that may be written to."""
    with contextlib.ExitStack() as stack:
        folder: Path | None = None
        with contextlib.suppress(OSError):
            _remove_of_the_dead(mount)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=mount))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            # Locked before it has its name: who finds it finds it locked.
            lock = stack.enter_context((folder / f".{LOCK}").open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f".{LOCK}").rename(folder / LOCK)
        yield folder


def remove_graphs(folder: Path) -> None:
    """Have all ranks compile their step anew: what one keeps may be more than another one has."""
    for graph in folder.glob(f"{GRAPH_PREFIX}*"):
        shutil.rmtree(graph, ignore_errors=True)


def free_bytes(folder: Path, kernel: Path = Path("/")) -> int:
    """Of a folder in shared memory.

    Args:
        folder: on the mount.
        kernel: where `sys` and `proc` lie.
    """
    mount = os.statvfs(folder)
    return min(mount.f_bavail * mount.f_frsize, left_bytes(kernel))


def left_bytes(kernel: Path = Path("/")) -> int:
    """Of the memory that this container's processes may take."""
    node = _numbers(kernel / "proc/meminfo").get("MemAvailable:", 0) * KIBIBYTE
    return max(0, min([node, *_left_by_limits(kernel / "sys/fs/cgroup")]))


def held_bytes(folder: Path) -> int:
    """What lies in a folder, while others write and remove there."""
    held = 0
    for name, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):
                held += (Path(name) / file).stat().st_size
    return held


def _remove_of_the_dead(mount: Path) -> None:
    for lock in mount.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), lock.open("rb") as file:  # another user's, or one that is alive
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def _left_by_limits(folder: Path) -> list[int]:
    """What each limit of this container leaves; a limit that is not set has no number."""
    left = []
    for limit, use, prefix in CGROUPS:
        try:
            bounds = int((folder / limit).read_text()), int((folder / use).read_text())
        except (OSError, ValueError):
            continue
        parts = _numbers((folder / use).with_name("memory.stat"))
        left.append(bounds[0] - bounds[1] + sum(parts.get(prefix + name, 0) for name in RECLAIMED))
    return left


def _numbers(path: Path) -> dict[str, int]:
    """The lines of a file of the kernel: a name, a number; none where it cannot be read."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
