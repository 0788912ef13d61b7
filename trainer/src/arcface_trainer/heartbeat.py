"""What a rank is doing and since when, told to its launcher by a few bytes in a file.

A rank cannot watch itself: where MindSpore holds Python's lock, none of the rank's threads runs, and no handler of a
signal does while its main thread is inside a collective. The launcher is a process of its own and reads the file
whatever the rank waits for. Imports no other room.
"""

import contextlib
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class Phase(IntEnum):
    """What a rank may wait in."""

    START = 0
    """Up to the end of the first step, which is compiled before it runs; so is the first one of a thawed backbone."""
    DATA = 1
    STEP = 2
    CHECKPOINT = 3
    VERIFICATION = 4

    @property
    def in_words(self) -> str:
        """What it does."""
        return _WORDS[self]


_WORDS = {
    Phase.START: "starting",
    Phase.DATA: "waiting for images",
    Phase.STEP: "in a step, which waits for the device and for all other ranks",
    Phase.CHECKPOINT: "saving or reading a checkpoint",
    Phase.VERIFICATION: "verifying",
}
_FORMAT = struct.Struct("<iqd")
SUFFIX = ".beat"
Enter = Callable[[Phase, int], None]
"""Begin a phase, after so many updates."""


def unwatched(_phase: Phase, _step: int) -> None:
    """Of a rank that nobody has started."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The last thing that a rank began; beginning something is progress."""

    phase: Phase
    step: int
    """Updates before it."""
    began_at: float
    """Seconds of the rank's `time.monotonic`."""


class Heartbeat:
    """The rank's end of the file, open as long as its process lives."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def enter(self, phase: Phase, step: int) -> None:
        """Begin a phase, after so many updates; a disk that takes no beat ends no training."""
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, _FORMAT.pack(phase, step, time.monotonic()), 0)


def read_beat(path: Path) -> Beat | None:
    """The launcher's end; None until the rank has begun to train."""
    try:
        phase, step, since = _FORMAT.unpack(path.read_bytes())
    except (OSError, struct.error):
        return None
    return Beat(Phase(phase), step, since)
