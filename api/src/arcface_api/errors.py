"""Errors that end a command with one line and a meaningful exit code.

    ArcFaceError            1    anything a retry may cure
      InvalidInput          2    configuration or data the user has to mend; never retried
      Diverged              3    training left the finite numbers and roll-back did not help
      Stopped             143    stopped on request after saving a checkpoint

The codes are the contract between pods and the operator's retry policy.

Errors of the operating system are told apart by one rule, `explained`: those that pass and so are worth another try
become ArcFaceErrors, those that last InvalidInput. Neither says anything about the bytes of a file: only what was read
can be damaged. What is read in the midst of a training is read by `persistently`, which tries again itself first.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from time import sleep
from typing import TypeVar

T = TypeVar("T")


class ExitCode(IntEnum):
    """Exit status of every `arcface` command; any other non-zero status is retryable."""

    DONE = 0
    FAILED = 1
    INVALID_INPUT = 2
    DIVERGED = 3
    STOPPED = 143


NEVER_RETRIED = frozenset({ExitCode.INVALID_INPUT, ExitCode.DIVERGED})
"""What another attempt does not cure."""


class ArcFaceError(Exception):
    """A failure told in one line: what (file, field, value) is wrong and the remedy."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """One line that any report carries: names of files may hold line ends and bytes that are no UTF-8."""
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


class InvalidInput(ArcFaceError):  # noqa: N818 - reads as what it says
    """A file, a field or an argument is wrong and stays wrong when tried again."""

    exit_code = ExitCode.INVALID_INPUT


class Diverged(ArcFaceError):  # noqa: N818
    """The loss is no longer finite."""

    exit_code = ExitCode.DIVERGED

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank
        """Where it began; None where several ranks had it at once, or none by itself."""


class Stopped(ArcFaceError):  # noqa: N818
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved its state."""

    exit_code = ExitCode.STOPPED


PASSING = frozenset(
    {
        errno.EIO,  # a disk or a network volume that hiccups
        errno.ESTALE,  # NFS: the server was restarted or the file replaced
        errno.EREMOTEIO,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ECONNRESET,
        errno.ECONNREFUSED,
        errno.ENOTCONN,  # FUSE: the helper behind a mount has died and is started again
        errno.EPIPE,
        errno.EAGAIN,
        errno.EINTR,
        errno.EBUSY,
        errno.ENOLCK,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,  # somebody else may make room
        errno.EDQUOT,
        errno.EADDRINUSE,
    }
)
"""Errors after which the same call may go well later."""
PASSING_WHERE_WRITTEN = PASSING | {errno.EROFS}
"""Those of a place that took writes before: it is read-only for a while."""


def _failure(
    subject: Path | str, deed: str, error: OSError, remedy: str, passing: frozenset[int] = PASSING
) -> ArcFaceError:
    """What an error means, to be raised.

    Args:
        subject: the file or folder, or what else was touched.
        deed: what could not be done, as in `cannot be read`.
        error: what the system said.
        remedy: what the user may do where the error lasts.
        passing: as for `explained`.
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in passing:
        return ArcFaceError(f"{subject}: {deed} ({reason}): this may pass, try again")
    return InvalidInput(f"{subject}: {deed} ({reason}): {remedy}")


@contextmanager
def explained(subject: Path | str, deed: str, remedy: str, passing: frozenset[int] = PASSING) -> Iterator[None]:
    """Raise `_failure` for any error of the system inside.

    Args:
        subject: the file or folder, or what else was touched.
        deed: what could not be done, as in `cannot be read`.
        remedy: what the user may do where the error lasts.
        passing: numbers of the errors that are worth another try.

    Raises:
        ArcFaceError: where another try may go well.
        InvalidInput: where it will not.
    """
    try:
        yield
    except OSError as error:
        raise _failure(subject, deed, error, remedy, passing) from error


PAUSES = (0.1, 1.0, 5.0)
"""Seconds before another try of a read; what takes longer to pass is worth a new start of the rank."""


def persistently(read: Callable[[], T], subject: Path | str, deed: str, remedy: str) -> T:
    """What `read` returns, tried again after pauses while its error is one that passes.

    Args:
        read: opens what it reads itself: a handle that is stale stays so.
        subject: as for `explained`.
        deed: as for `explained`.
        remedy: as for `explained`.

    Raises:
        ArcFaceError: where it has not passed after the last pause.
        InvalidInput: at once, where another try will not go well.
    """
    for pause in PAUSES:
        try:
            return read()
        except OSError as error:
            if error.errno not in PASSING:
                raise _failure(subject, deed, error, remedy) from error
        sleep(pause)
    with explained(subject, deed, remedy):
        return read()
