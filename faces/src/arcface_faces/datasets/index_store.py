"""Where the index of a training set is kept, and who makes it: one process of all those that start together.

It lies beside the data; where these are read-only beside the checkpoints, else in the user's cache folder. A place that
cannot be written is done without. One process makes it under a lock, the others wait and map what it has published.
Nodes with copies of their own at one path, which differ in their times, share the folder of the checkpoints: there each
copy's index has a name of its own, else they would replace each other's at every start.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from arcface_api.errors import InvalidInput
from arcface_faces import whole_file
from arcface_faces.datasets.index import DatasetIndex

LOG = logging.getLogger(__name__)
WRITE_BITS = 0o222
PATIENCE_SECONDS = 1200.0
"""For a process that makes the index; whoever has waited so long makes one of its own."""
LOOK_SECONDS = 0.1
KEPT = 8
"""Indexes of one path that stay outside the data, however old."""
KEPT_SECONDS = 30 * 24 * 3600
"""Since an index outside the data was last opened: another host may have it mapped."""
HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class IndexStore:
    """The places of one set's index."""

    beside_data: Path | None
    """The first one; None where nothing is kept."""
    elsewhere: tuple[Path, ...] = ()
    """The others, best first, without what tells the copies of a set apart."""

    @classmethod
    def of(cls, directory: Path, min_images: int, beside: Path | None) -> "IndexStore":
        """Places for the set in a folder; elsewhere than in it under a name made of its absolute path.

        Args:
            directory: the folder of the set.
            min_images: identities with fewer are not in the index.
            beside: the folder of the checkpoints, where there are any.
        """
        name = f"arcface-index-{min_images}"
        elsewhere = f"{name}-{hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:32]}"
        folders = [] if beside is None else [beside]
        # A user without a home, as containers have.
        with contextlib.suppress(RuntimeError):
            folders.append(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "arcface")
        return cls(directory / name, tuple(folder / elsewhere for folder in folders))

    def load(self, made_from: str, make: Callable[[], DatasetIndex]) -> DatasetIndex:
        """The index that was made from this, made now where there is none; what `make` raises."""
        places = self._places(made_from)
        if (found := _find(places, made_from)) is not None:
            return found
        with _alone(places):
            if (found := _find(places, made_from)) is not None:
                return found
            index = make()
            for place in places:
                if _publish(place, index, made_from):
                    self._remove_old()
                    return _map(place, made_from) or index
        return index

    def _places(self, made_from: str) -> list[Path]:
        copy = hashlib.sha256(made_from.encode()).hexdigest()[:HASH_DIGITS]
        first = [] if self.beside_data is None else [self.beside_data]
        return [*first, *(path.with_name(f"{path.name}-{copy}") for path in self.elsewhere)]

    def _remove_old(self) -> None:
        """Remove what nobody has opened for long, but for the newest: each change of the data leaves one."""
        long_ago = time.time() - KEPT_SECONDS
        for path in self.elsewhere:
            with contextlib.suppress(OSError):
                copies = path.parent.glob(f"{path.name}-{'?' * HASH_DIGITS}")
                opened = sorted(((copy.stat().st_mtime, copy) for copy in copies), reverse=True)
                for when, copy in opened[KEPT:]:
                    if when < long_ago:
                        copy.unlink()


NOWHERE = IndexStore(None)
"""For those who need the index once."""


def _find(places: Sequence[Path], made_from: str) -> DatasetIndex | None:
    return next((found for place in places if (found := _map(place, made_from)) is not None), None)


@contextlib.contextmanager
def _alone(places: Sequence[Path]) -> Iterator[None]:
    """Held by one process; the kernel takes it from one that dies."""
    for place in places:
        path = place.with_name(f"{place.name}.lock")
        with contextlib.suppress(OSError):
            _make_folder(place)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            break
    else:
        yield
        return
    try:
        _lock(descriptor, path)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    """Wait for the lock, but not for ever, and not where the volume knows no locks."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    is_told = False
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_told:
                LOG.info("another process makes the index of the images, waiting lock=%s", path)
            is_told = True
            time.sleep(LOOK_SECONDS)
        except OSError as error:
            LOG.info("index is made without a lock file=%s reason=%s", path, error)
            return
        else:
            return
    LOG.warning("index is made by this process, too, after a wait lock=%s seconds=%d", path, PATIENCE_SECONDS)


def _map(place: Path, made_from: str) -> DatasetIndex | None:
    try:
        index = DatasetIndex.map(place, made_from)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        LOG.info("index is not readable file=%s reason=%s", place, error)
    except InvalidInput as error:
        LOG.warning("index is damaged or of another release and made anew file=%s reason=%s", place, error)
    else:
        if index is not None:
            with contextlib.suppress(OSError):  # of another user, or read-only
                os.utime(place)
        return index
    return None


def _make_folder(place: Path) -> None:
    """OSError where it cannot be made, or stays as it is: without any write bit it is meant to, also for root."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.parent.stat().st_mode & WRITE_BITS:
        raise PermissionError(f"{place.parent} is read-only")


def _publish(place: Path, index: DatasetIndex, made_from: str) -> bool:
    """Publish by rename, so that ranks that start together never see half a file."""
    try:
        _make_folder(place)
        with whole_file.replacing(place) as file:
            index.write(file, made_from)
    except OSError as error:
        LOG.info("index is not kept file=%s reason=%s", place, error)
        return False
    return True
