"""Errors that end a command with one line and a meaningful exit code.

    ArcFaceError            1    anything a retry may cure
      InvalidInput          2    configuration or data the user has to mend; never retried
      Diverged              3    training left the finite numbers and roll-back did not help
      Stopped             143    stopped on request after saving a checkpoint

The codes are the contract between pods and the operator's retry policy.
"""

from enum import IntEnum


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


class InvalidInput(ArcFaceError):  # noqa: N818 - reads as what it says
    """A file, a field or an argument is wrong and stays wrong when tried again."""

    exit_code = ExitCode.INVALID_INPUT


class Diverged(ArcFaceError):  # noqa: N818
    """The loss is no longer finite."""

    exit_code = ExitCode.DIVERGED


class Stopped(ArcFaceError):  # noqa: N818
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved its state."""

    exit_code = ExitCode.STOPPED
