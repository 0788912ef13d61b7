"""A disk that hiccups is worth another try; a folder that cannot be written to is not."""

import errno
import os
from pathlib import Path

import pytest

from arcface_api.contract.run_config import RunCheckpoint
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_trainer.checkpoint.writer import CheckpointWriter
from arcface_trainer.distributed.collectives import World
from arcface_trainer.export.network import export_network
from arcface_trainer.synth.dataset import SynthRequest, write_dataset
from support.builders.checkpoints import write_checkpoint
from support.builders.training_plan import make_plan

REQUEST = SynthRequest(identities=2, images_per_identity=1, test_identities=2, pairs=20, seed=1)


def prepare_checkpoints(folder):
    settings = RunCheckpoint(directory=str(folder / "out"), every_steps=1, keep_last=2)
    CheckpointWriter(settings, make_plan(), World(1, 0)).prepare()


def export(folder):
    export_network(write_checkpoint(folder / "checkpoints"), "onnx", folder / "out" / "network.onnx")


def draw(folder):
    write_dataset(folder / "out", REQUEST, lambda _: None)


def test_a_volume_that_took_checkpoints_before_is_read_only_for_a_while(tmp_path, monkeypatch):
    """Its newest state may be in the pods' memory, which an exit that is never retried would lose."""
    write_checkpoint(tmp_path / "out")

    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ArcFaceError, match=r"Read-only file system\): this may pass, try again") as caught:
        prepare_checkpoints(tmp_path)
    assert type(caught.value) is ArcFaceError


@pytest.mark.parametrize("write", [prepare_checkpoints, export, draw])
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ESTALE, ArcFaceError),
        (errno.EIO, ArcFaceError),
        (errno.ENOSPC, ArcFaceError),
        (errno.EROFS, InvalidInput),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else None,
)
def test_only_errors_that_last_are_invalid_input(tmp_path, monkeypatch, write, number, kind):
    mkdir = Path.mkdir

    def refuse(path, *arguments, **options):
        if "out" in path.parts:
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ArcFaceError, match=os.strerror(number)) as caught:
        write(tmp_path)
    assert type(caught.value) is kind
