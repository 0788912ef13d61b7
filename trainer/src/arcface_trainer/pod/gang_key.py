"""The secret that the launchers of a gang share: what they ask each other, and what they answer, is signed with it.

It lies beside the checkpoints, where only those find it who may read the weights anyway, and it never travels: a
signature (HMAC, RFC 2104) is good for one path, so that whoever has the address of a pod that is gone, and is asked in
its stead, learns nothing that opens another pod. Each attempt has a key of its own.
"""

import hmac
import os
import sys
from dataclasses import dataclass
from pathlib import Path

PREFIX = ".launchers-"
SIZE = 32


@dataclass(frozen=True, slots=True)
class GangKey:
    """The secret of an attempt's launchers."""

    secret: bytes

    @classmethod
    def of(cls, directory: Path, job_uid: str | None, attempt: int) -> "GangKey | None":
        """The key of a gang, made by whichever pod asks first; None while that one is writing it.

        Args:
            directory: of the job's checkpoints.
            job_uid: of the job, None where nobody gave it one.
            attempt: of the gang.

        Raises:
            OSError: where the volume has none and takes none.
        """
        job = "" if job_uid is None else f"{job_uid}-"
        path = directory / f"{PREFIX}{job}{attempt}"
        directory.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            with path.open("rb") as file:
                secret = file.read(SIZE)
            return cls(secret) if len(secret) == SIZE else None
        secret = os.urandom(SIZE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
        for old in directory.glob(f"{PREFIX}*"):
            if _attempt_of(old) < attempt:  # a pod of an attempt before may be the last to ask
                old.unlink(missing_ok=True)
        return cls(secret)

    def sign(self, *parts: bytes) -> str:
        """The signature of a message; its parts hold no line end, but for the last."""
        return hmac.new(self.secret, b"\n".join(parts), "sha256").hexdigest()

    def has_signed(self, signature: str | None, *parts: bytes) -> bool:
        """Whether a message comes from a launcher of the gang."""
        return hmac.compare_digest((signature or "").encode(), self.sign(*parts).encode())


def _attempt_of(path: Path) -> int:
    """The attempt whose key lies in a file; the last of all where the name has none."""
    text = path.name.rpartition("-")[2]
    return int(text) if text.isascii() and text.isdecimal() else sys.maxsize
