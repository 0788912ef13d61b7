"""Embeddings of many images, part by part: memory needs to hold one, and a process that is killed loses one at most.

<folder>/00016384-00032768.npy    of images 16,384 to 32,767; behind the array the SHA-256 of what is before it
"""

import hashlib
import io
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from arcface_api.errors import InvalidInput
from arcface_faces import whole_file
from arcface_faces.embedding import vectors
from arcface_faces.embedding.embedder import Embedder, Images
from arcface_faces.progress import Advance

PART = 16_384
"""Images: 64 MiB where an embedding has 512 numbers. A multiple of usual batches, so that few are filled up."""
DIGEST = hashlib.sha256().digest_size
LOG = logging.getLogger(__name__)


class KeptParts:
    """A folder of parts, for whoever goes on after this process.

    Where one cannot be written, as on a full volume, those before are given up, too: what is found needs room itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_writable = True

    def find(self, numbers: range) -> vectors.Embeddings | None:
        """The embeddings of these images, if they are kept and sound."""
        path = self._path(numbers)
        try:
            if not path.is_file():
                return None
            content = path.read_bytes()
        except OSError as error:
            LOG.warning("kept embeddings are not used: %s: %s", path, error.strerror)
            return None
        if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
            LOG.warning("kept embeddings are not used: %s has changed since", path)
            return None
        found: vectors.Embeddings = np.load(io.BytesIO(content))
        return found

    def keep(self, numbers: range, embeddings_NVD: vectors.Embeddings) -> None:
        """Keep a part; where that cannot be done a line in the log says so, and no other one is kept."""
        if not self.is_writable:
            return
        path = self._path(numbers)
        digest = hashlib.sha256()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file.replacing(path) as file:
                for piece in (vectors.header(embeddings_NVD.shape), np.ascontiguousarray(embeddings_NVD).data):
                    file.write(piece)
                    digest.update(piece)
                file.write(digest.digest())
        except OSError as error:
            self.is_writable = False
            shutil.rmtree(self.folder, ignore_errors=True)
            LOG.warning("embeddings are not kept, another process would begin anew: %s: %s", path, error.strerror)

    def drop_siblings(self) -> None:
        """Remove the folders beside this one, if parts are in it: nobody will ask for theirs again."""
        if self.is_writable and self.folder.is_dir():
            for other in self.folder.parent.glob("*"):
                if other.name != self.folder.name:
                    shutil.rmtree(other, ignore_errors=True)

    def _path(self, numbers: range) -> Path:
        return self.folder / f"{numbers.start:08d}-{numbers.stop:08d}.npy"


def embed_parts(
    images: Images, network: Callable[[], Embedder], advance: Advance, kept: KeptParts | None = None
) -> Iterator[vectors.Embeddings]:
    """Embeddings (up to PART, 2, D) of all images in their order; the network is opened where some are not kept."""
    return vectors.tell_degenerate(_parts(images, network, advance, kept), "embeddings of the network")


def _parts(
    images: Images, network: Callable[[], Embedder], advance: Advance, kept: KeptParts | None
) -> Iterator[vectors.Embeddings]:
    count = len(images)
    if not count:
        raise InvalidInput("there are no images to embed")
    for start in range(0, count, PART):
        numbers = range(start, min(start + PART, count))
        part = None if kept is None else kept.find(numbers)
        if part is None:
            part = network()(images, numbers, advance)
            if kept is not None:
                kept.keep(numbers, part)
        else:
            advance(len(numbers))
        yield part


def join_parts(parts: Iterable[vectors.Embeddings], count: int) -> vectors.Embeddings:
    """All parts of `count` images, at least one, as one array."""
    whole, row = np.empty((count, 0, 0), np.float32), 0
    for part in parts:
        if row == 0:
            whole = np.empty((count, *part.shape[1:]), np.float32)
        whole[row : row + len(part)] = part
        row += len(part)
    return whole
