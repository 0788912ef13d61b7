"""The directories of a run: those that stand for the job's claims, and its own with pods' folders, logs and a lock."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from arcface_api.errors import ArcFaceError, InvalidInput, explained
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.prerequisites import WRITTEN, claims_of

Claims = Mapping[str, Path]
"""Directory of each claim, absolute."""


def parse_volumes(options: Iterable[str], job: ArcFaceTrainingJob) -> dict[str, Path]:
    """Directories given as `CLAIM=DIR`; each must exist and belong to a claim of the job."""
    known = claims_of(job)
    volumes: dict[str, Path] = {}
    for option in options:
        claim, separator, directory = option.partition("=")
        if not separator or not directory:
            raise InvalidInput(f"--volume {option}: write CLAIM=DIR, e.g. --volume {job.spec.data.claim_name}=./data")
        if claim not in known:
            raise InvalidInput(f"--volume {option}: the job has no claim {claim!r}; its claims: {', '.join(known)}")
        if claim in volumes:
            raise InvalidInput(f"--volume {option}: {claim} was given before; give each claim once")
        path = Path(directory).expanduser().absolute()
        if not _is_directory(path):
            raise InvalidInput(f"--volume {option}: {path} is not a directory; create it or correct the path")
        volumes[claim] = path
    return volumes


def bind_claims(job: ArcFaceTrainingJob, given: Mapping[str, Path], workdir: Path) -> Claims:
    """A directory for every claim: the given one or `<workdir>/volumes/<claim>`.

    What is read must be there already; `create_claims` makes what else is missing.
    """
    claims = {}
    for claim, fields in claims_of(job).items():
        directory = given.get(claim) or workdir.absolute() / "volumes" / claim
        read = next((field for field in fields if field != WRITTEN), None)
        if read is not None and not _is_directory(directory):
            raise InvalidInput(f"{read}: no directory for claim {claim}; give it with --volume {claim}=DIR")
        claims[claim] = directory
    return claims


def create_claims(claims: Claims) -> None:
    """Make the directories that are missing."""
    for claim, directory in claims.items():
        with explained(directory, "cannot be created", f"give claim {claim} a directory with --volume {claim}=DIR"):
            directory.mkdir(parents=True, exist_ok=True)


def _is_directory(path: Path) -> bool:
    """Whether there is a directory; a volume that does not answer is no wrong path."""
    with explained(path, "cannot be looked at", "correct the path"):
        return path.is_dir()


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


VOLUME_LOCK = ".arcface-run.lock"
UNLOCKABLE = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""What network volumes say that know no locks."""


@contextmanager
def locked_checkpoints(folder: Path, workdir: Workdir) -> Iterator[int | None]:
    """A job's folder of checkpoints for this run alone: two gangs would remove each other's.

    The lock is the open file's: whoever inherits it holds it on, so that ranks which still save are not disturbed.

    Yields:
        The file, to be handed on; None where the volume knows no locks.

    Raises:
        ArcFaceError: naming the run that holds the folder.
    """
    with explained(folder, "checkpoints cannot be written", "give the claim another directory with --volume"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / VOLUME_LOCK).open("a+")
    with lock:
        is_locked = _take(lock.fileno(), folder, lambda: _first_line(lock))
        if is_locked:
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {os.uname().nodename}, --workdir {workdir.root}\n")
            lock.flush()
        yield lock.fileno() if is_locked else None


def _take(file: int, folder: Path, holder: Callable[[], str]) -> bool:
    """Lock a file; False where that cannot be done on its volume."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ArcFaceError(
            f"{folder}: in use by another run ({holder()}), or its ranks still save; stop that one, or give the job "
            "another checkpoint.path"
        ) from None
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise
        return False
    return True


def _first_line(file: TextIO) -> str:
    """Who holds a lock, by its own account."""
    file.seek(0)
    return file.readline().strip() or "unknown"
