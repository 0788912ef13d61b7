"""Embeddings of a release kept beside the checkpoint that made them: looking again costs seconds.

The file's name holds a hash of everything that the embeddings depend on: the checkpoint by its manifest, which has the
hashes of its files and the preprocessing, the template of the alignment, the release's files and every image's bytes.

A hash of the file itself lies beside it.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arcface_api.errors import ArcFaceError, explained
from arcface_evaluator.sets.release import IjbRelease
from arcface_evaluator.sets.release_images import ReleaseImages
from arcface_faces.checkpoint.reader import file_sha256
from arcface_faces.embedding.embedder import decoding_threads
from arcface_faces.embedding.vectors import Embeddings, read_embeddings
from arcface_faces.images.face_input import LANDMARKS

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddingCache:
    """One file that may be there."""

    path: Path
    images: int

    def load(self) -> Embeddings | None:
        """The embeddings, if they are kept and sound."""
        if not self.path.is_file():
            return None
        try:
            written = self._digest_file.read_text(encoding="ascii", errors="replace")
            found = read_embeddings(self.path, self.images) if written == file_sha256(self.path) else None
        except (OSError, ArcFaceError) as error:
            LOG.warning("kept embeddings are not used: %s", error)
            return None
        if found is None:
            LOG.warning("kept embeddings are not used: %s has changed since", self.path)
        return found

    @property
    def _digest_file(self) -> Path:
        """The hash of the file as it was written, beside it."""
        return self.path.with_suffix(".sha256")

    def store(self, embeddings_NVD: Embeddings) -> None:
        """Keep embeddings; where the folder cannot be written they are not kept, which costs time only."""
        hidden = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with hidden.open("wb") as file:
                np.save(file, embeddings_NVD)
                file.flush()
                os.fsync(file.fileno())
            self._digest_file.write_text(file_sha256(hidden), encoding="ascii")
            hidden.rename(self.path)
        except (OSError, ArcFaceError) as error:
            LOG.info("embeddings are not kept: %s (%s)", self.path, error)
            hidden.unlink(missing_ok=True)


def open_cache(folder: Path, manifest: Path, opened: IjbRelease, images: ReleaseImages) -> EmbeddingCache:
    """The cache of one release with one checkpoint, whose folder and manifest are given."""
    whole = hashlib.sha256(repr(LANDMARKS).encode())
    for part in (manifest, opened.members_file, opened.marks_file):
        with explained(part, "cannot be read", "give this user the right to read it"):
            whole.update(hashlib.sha256(part.read_bytes()).digest())

    def of_image(number: int) -> bytes:
        return hashlib.sha256(images.image_bytes(number)).digest()

    with ThreadPoolExecutor(decoding_threads(), thread_name_prefix="hash") as pool:
        for digest in pool.map(of_image, range(len(images))):
            whole.update(digest)
    return EmbeddingCache(folder / f"embeddings-{opened.name}-{whole.hexdigest()[:32]}.npy", len(images))


def cached_embeddings(cache: EmbeddingCache | None, embed: Callable[[], Embeddings]) -> Embeddings:
    """Kept embeddings, or new ones that are kept from now on."""
    found = cache.load() if cache is not None else None
    if found is not None:
        return found
    embeddings = embed()
    if cache is not None:
        cache.store(embeddings)
    return embeddings
