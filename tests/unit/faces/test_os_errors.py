"""Errors of the system that pass are worth another try: they say nothing about the files, and end no job for good."""

import errno
import os
from pathlib import Path

import pytest

from arcface_api import errors
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces import checkpoint
from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.embedding.vectors import read_embeddings
from arcface_faces.image_files.framing import Aligned, read_landmarks
from arcface_faces.image_files.tree import ImageTree
from arcface_faces.pairs.pair_list import ListedPair, make_set, read_list
from arcface_faces.pairs.pair_set import read_pair_set, write_pairs
from arcface_faces.records.files import RecordWriter
from support.builders.verification_set import encoded_image


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(errors, "PAUSES", (0.0,))


def fail(number):
    """A call of the system that ends so."""

    def call(*_words, **_options):
        raise OSError(number, os.strerror(number))

    return call


def pack(folder):
    with RecordWriter(folder) as writer:
        writer.start_identity()
        writer.add(encoded_image(1))


READS = {
    "folder of images": (os, "scandir", open_dataset),
    "folder of records": (Path, "exists", open_dataset),
    "image of a folder": (
        "arcface_faces.datasets.image_folder",
        "read_regular",
        lambda folder: open_dataset(folder).image_bytes(0),
    ),
    "checkpoints": (Path, "iterdir", lambda folder: list(checkpoint.complete_checkpoints(folder))),
    "manifest": ("arcface_faces.checkpoint", "read_regular", checkpoint.read_manifest),
    "hash": ("arcface_faces.checkpoint", "open_regular", lambda folder: checkpoint.file_sha256(folder / "a")),
    "list of pairs": (Path, "read_bytes", lambda folder: read_list(folder / "a")),
    "image of a list": (
        "arcface_faces.pairs.pair_list",
        "read_regular",
        lambda folder: make_set([ListedPair(1, "a.png", "b.png", True)], ImageTree(folder), Aligned()),
    ),
    "folder of an image tree": (os, "scandir", lambda folder: ImageTree(folder).names()),
    "landmarks": (Path, "read_bytes", lambda folder: read_landmarks(folder / "a")),
    "pair set": (os, "open", lambda folder: read_pair_set(folder / "a")),
    "embeddings": ("numpy.lib.format", "open_memmap", lambda folder: read_embeddings(folder / "a", 1)),
    "new pair set": (os, "fsync", lambda folder: write_pairs(folder / "new.bin", [b"", b""], [True])),
    "new records": (os, "fsync", lambda folder: pack(folder / "new")),
}


def met(tmp_path, monkeypatch, name, number):
    (tmp_path / "a").write_text("Ann 1 2\n")
    (tmp_path / "a.png").write_bytes(encoded_image(1))
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "a.png").write_bytes(encoded_image(1))
    owner, call, read = READS[name]
    where = (f"{owner}.{call}",) if isinstance(owner, str) else (owner, call)
    with monkeypatch.context() as patch:
        patch.setattr(*where, fail(number))
        with pytest.raises(ArcFaceError) as caught:
            read(tmp_path)
    return caught.value


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOSPC])
def test_what_passes_is_no_invalid_input(tmp_path, monkeypatch, name, number):
    error = met(tmp_path, monkeypatch, name, number)
    assert not isinstance(error, InvalidInput)
    assert "this may pass, try again" in str(error)
    assert "damaged" not in str(error)


@pytest.mark.parametrize("name", [name for name in READS if name not in {"checkpoints", "image of a list"}])
def test_what_lasts_is(tmp_path, monkeypatch, name):
    assert isinstance(met(tmp_path, monkeypatch, name, errno.EACCES), InvalidInput)
