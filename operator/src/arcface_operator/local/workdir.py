"""The directory of a run: pods' folders, logs and a lock."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from arcface_api.errors import InvalidInput, explained


@dataclass(frozen=True)
class Workdir:
    """Layout of a run's directory; the path is absolute."""

    root: Path

    @property
    def pods(self) -> Path:
        """Folders of the pods."""
        return self.root / "pods"

    @property
    def logs(self) -> Path:
        """Output of the pods, one file each attempt."""
        return self.root / "logs"


@contextmanager
def locked_workdir(path: Path) -> Iterator[Workdir]:
    """The directory, created where needed, for this process alone; the kernel drops the lock when it dies."""
    workdir = Workdir(path.absolute())
    with explained(path, "cannot be a run's directory", "give another directory with --workdir"):
        for folder in (workdir.pods, workdir.logs):
            folder.mkdir(parents=True, exist_ok=True)
        lock = (workdir.root / "lock").open("w")
    with lock:
        with explained(path, "cannot be locked", "give another directory with --workdir"):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidInput(f"{path}: in use by another run; stop that one or give another --workdir") from None
        yield workdir
