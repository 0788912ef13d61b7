"""What is fuzzed, and the one property: what is accepted an independent check accepts, all else is refused in a line.

Never another exception, never more than a bounded time, never more than a bounded memory.
"""

import re
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from arcface_api.errors import ArcFaceError
from fuzz.mutation import Mutate, mutate_bytes

SECONDS = 5.0
"""Of a core that one input may take; all take milliseconds."""
MEBIBYTES = 64
"""That one input may add to what the process has ever had at once."""
VARIABLE = re.compile(r"'.*'|\".*\"|[-+]?\d[\w.+-]*|/\S+")
"""What tells messages about one fault apart."""
LONGEST_KIND = 60
"""Letters of a message that tell its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A reader of outside bytes."""

    name: str
    samples: Sequence[bytes]
    """Valid inputs that changes begin with."""
    read: Callable[[bytes], Any]
    """The code under test: a value, or an ArcFaceError."""
    agrees: Callable[[bytes, Any], bool]
    """Whether a check that shares no code with it takes the value for what the bytes say."""
    mutate: Mutate = mutate_bytes
    mebibytes: int = MEBIBYTES
    seconds: float = SECONDS


class BrokenPropertyError(Exception):
    """An input for which the property does not hold."""


class _TooLongError(BaseException):
    """Raised by the timer, past whatever catches exceptions."""


def judge(target: Target, data: bytes) -> str:
    """What became of an input: `accepted`, or the refusal without its details.

    Raises:
        BrokenPropertyError: naming what does not hold.
    """
    peak = _peak()
    signal.setitimer(signal.ITIMER_PROF, target.seconds)
    try:
        value = target.read(data)
    except ArcFaceError as error:
        return _refusal(str(error))
    except _TooLongError as error:
        raise BrokenPropertyError(f"takes longer than {target.seconds} s") from error
    except Exception as error:
        raise BrokenPropertyError(f"{type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if (grown := _peak() - peak) > target.mebibytes:
        raise BrokenPropertyError(f"takes {grown} MiB")
    _check(target, data, value)
    return "accepted"


def _check(target: Target, data: bytes, value: Any) -> None:
    try:
        agrees = target.agrees(data, value)
    except Exception as error:
        raise BrokenPropertyError(f"is accepted, and the check fails: {type(error).__name__}: {error}") from error
    if not agrees:
        raise BrokenPropertyError("is accepted, and says something else")


def _refusal(message: str) -> str:
    if not message or not message.isprintable():
        raise BrokenPropertyError(f"is refused with {message[:200]!a}, which is no line")
    return VARIABLE.sub("?", message)[:LONGEST_KIND]


def _peak() -> int:
    """MiB of memory that the process has had at most since the context was entered."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@contextmanager
def watched_time() -> Iterator[None]:
    """Where `judge` can stop what takes too long, and see what takes much: in the main thread of a process."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    Path("/proc/self/clear_refs").write_text("5")  # what the process had before is not these inputs' affair (proc(5))
    try:
        yield
    finally:
        signal.signal(signal.SIGPROF, before)
