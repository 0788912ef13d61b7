"""One rule for errors of the operating system: which pass, and so are worth another try, and which last.

A passing one becomes an ArcFaceError (exit code 1, retried), a lasting one an InvalidInput (exit code 2, not retried).
Neither says anything about the bytes of a file: only what was read can be damaged.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arcface_api.errors import ArcFaceError, InvalidInput

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


def _is_passing(error: OSError) -> bool:
    """Whether the same call may go well later."""
    return error.errno in PASSING


def _failure(subject: Path | str, deed: str, error: OSError, remedy: str) -> ArcFaceError:
    """What an error means, to be raised.

    Args:
        subject: the file or folder, or what else was touched.
        deed: what could not be done, as in `cannot be read`.
        error: what the system said.
        remedy: what the user may do where the error lasts.
    """
    reason = error.strerror or str(error) or type(error).__name__
    if _is_passing(error):
        return ArcFaceError(f"{subject}: {deed} ({reason}): this may pass, try again")
    return InvalidInput(f"{subject}: {deed} ({reason}): {remedy}")


@contextmanager
def explained(subject: Path | str, deed: str, remedy: str) -> Iterator[None]:
    """Raise `_failure` for any error of the system inside.

    Raises:
        ArcFaceError: where another try may go well.
        InvalidInput: where it will not.
    """
    try:
        yield
    except OSError as error:
        raise _failure(subject, deed, error, remedy) from error
