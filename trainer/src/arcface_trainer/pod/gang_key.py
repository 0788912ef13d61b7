"""The secret that the launchers of a gang share: what they ask each other, and what they answer, is signed with it.

It lies beside the checkpoints, where only those find it who may read the weights anyway, and it never travels: a
signature (HMAC, RFC 2104) is good for one path, so that whoever has the address of a pod that is gone, and is asked in
its stead, learns nothing that opens another pod. Each attempt has a key of its own.
"""

import hmac
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from arcface_api.errors import ArcFaceError

LOG = logging.getLogger(__name__)
PREFIX = ".launchers-"
FILE = "key"
SIZE = 32
PLACES = ("", ".2")
"""Of a key: a damaged one is not taken away, since somebody might have put a whole one in its place meanwhile."""


@dataclass(frozen=True, slots=True)
class GangKey:
    """The secret of an attempt's launchers."""

    secret: bytes

    @classmethod
    def of(cls, directory: Path, job_uid: str | None, attempt: int) -> "GangKey":
        """The key of a gang, made by whichever pod is the first to have one there.

        Args:
            directory: of the job's checkpoints.
            job_uid: of the job, None where nobody gave it one.
            attempt: of the gang.

        Raises:
            OSError: where the volume has none and takes none.
            ArcFaceError: where what it has is damaged.
        """
        job = "" if job_uid is None else f"{job_uid}-"
        for place in PLACES:
            folder = directory / f"{PREFIX}{job}{attempt}{place}"
            if len(secret := _secret_in(folder, attempt)) == SIZE:
                return cls(secret)
            LOG.warning("%s: is no key, which has %d bytes: another one is made beside it", folder / FILE, SIZE)
        raise ArcFaceError(f"{folder}: is no key, nor is the one before it: remove both")

    def sign(self, *parts: bytes) -> str:
        """The signature of a message; its parts hold no line end, but for the last."""
        return hmac.new(self.secret, b"\n".join(parts), "sha256").hexdigest()

    def has_signed(self, signature: str | None, *parts: bytes) -> bool:
        """Whether a message comes from a launcher of the gang."""
        return hmac.compare_digest((signature or "").encode(), self.sign(*parts).encode())


def _secret_in(folder: Path, attempt: int) -> bytes:
    """What lies there, which was written whole; made where there is nothing."""
    try:
        return _read(folder)
    except FileNotFoundError:
        _publish(folder)
    for old in folder.parent.glob(f"{PREFIX}*"):
        if _is_before(old, attempt):  # a pod of an attempt before may be the last to ask
            shutil.rmtree(old, ignore_errors=True)
    return _read(folder)


def _read(folder: Path) -> bytes:
    try:
        with (folder / FILE).open("rb") as file:
            return file.read(SIZE)
    except NotADirectoryError:
        return b""


def _publish(folder: Path) -> None:
    """Make a key under another name and rename its folder, which fails where another pod was faster.

    Of a file the last one's rename would hold; hard links, by which the first one's would, are not on every volume.
    """
    hidden = folder.with_name(f"{folder.name}.{os.urandom(8).hex()}")
    hidden.mkdir(mode=0o700, parents=True)
    try:
        (hidden / FILE).touch(mode=0o600)
        with (hidden / FILE).open("wb") as file:
            file.write(os.urandom(SIZE))
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(folder)
    except OSError:
        if not folder.joinpath(FILE).is_file():
            raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _is_before(path: Path, attempt: int) -> bool:
    """Whether what lies there is of an earlier attempt, by its name."""
    text = path.name.rpartition("-")[2].partition(".")[0]
    return text.isascii() and text.isdecimal() and int(text) < attempt
