"""Going on from the newest sound checkpoint."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from arcface_api import errors
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces import checkpoint, positioned_file
from arcface_faces.checkpoint import BACKBONE_FILE, LossScale
from arcface_trainer.checkpoint.checkpointing import Checkpointing
from arcface_trainer.checkpoint.resume import resume
from arcface_trainer.distributed.collectives import World
from support.builders.saved_states import PLAN, flip_the_last_bit, make_writer, rewrite_manifest, saving


@pytest.fixture
def save(tmp_path):
    return saving(tmp_path)


class Loaded:
    """A state that remembers where it was loaded from."""

    source = None
    loss_scale = None

    def load(self, *_tensors, source):
        self.source = source

    def load_loss_scale(self, saved):
        self.loss_scale = saved


def test_a_run_goes_on_with_the_loss_scale_of_its_checkpoint(tmp_path, save):
    save(4)
    state = Loaded()
    resume(state, tmp_path, PLAN, World(1, 0))
    assert state.loss_scale == LossScale(scale=1024.0, good_steps=7)


def test_what_an_older_release_saved_has_no_loss_scale(tmp_path, save):
    save(4)
    rewrite_manifest(tmp_path / "step-00000004", lambda document: document.pop("lossScale"))
    state = Loaded()
    resume(state, tmp_path, PLAN, World(1, 0))
    assert state.loss_scale is None


def test_a_run_goes_on_from_the_newest_sound_checkpoint(tmp_path, save):
    save(4)
    save(8)
    flip_the_last_bit(tmp_path / "step-00000008" / BACKBONE_FILE)
    state = Loaded()
    assert resume(state, tmp_path, PLAN, World(1, 0)).step == 4
    assert state.source == str(tmp_path / "step-00000004")


DAMAGES = 200


@pytest.mark.parametrize("kind", ["truncated", "one byte flipped"])
def test_whatever_is_damaged_is_refused_and_the_one_before_is_used(tmp_path, save, kind):
    save(4)
    save(8)
    files = sorted((tmp_path / "step-00000008").iterdir())
    random = np.random.default_rng(8)
    for number in range(DAMAGES):
        file = files[number % len(files)]
        whole = file.read_bytes()
        place = int(random.integers(len(whole)))
        flipped = whole[:place] + bytes([whole[place] ^ (1 << int(random.integers(8)))]) + whole[place + 1 :]
        file.write_bytes(whole[:place] if kind == "truncated" else flipped)
        assert resume(Loaded(), tmp_path, PLAN, World(1, 0)).step == 4, (file.name, place)
        file.write_bytes(whole)
    assert resume(Loaded(), tmp_path, PLAN, World(1, 0)).step == 8


def test_however_many_newer_ones_are_damaged_a_sound_one_is_found(tmp_path, save):
    save(1)
    for step in range(2, 11):
        newer = shutil.copytree(tmp_path / "step-00000001", tmp_path / f"step-{step:08d}")
        rewrite_manifest(newer, lambda document, step=step: document.update(step=step))
        flip_the_last_bit(newer / BACKBONE_FILE)
    assert resume(Loaded(), tmp_path, PLAN, World(1, 0)).step == 1


def test_no_later_checkpoint_is_looked_at_than_is_wanted(tmp_path, save):
    for step in (4, 8):
        save(step)
    assert resume(Loaded(), tmp_path, PLAN, World(1, 0), newest_step=7).step == 4
    assert resume(Loaded(), tmp_path, PLAN, World(1, 0), newest_step=3) is None


def test_a_checkpoint_that_cannot_be_read_for_now_is_not_passed_over(tmp_path, save, monkeypatch):
    save(4)
    save(8)
    read_regular = checkpoint.read_regular

    def stale(path):
        if path.name == "manifest.json" and path.parent.name == "step-00000008":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return read_regular(path)

    monkeypatch.setattr(checkpoint, "read_regular", stale)
    monkeypatch.setattr(errors, "PAUSES", (0.0,))
    with pytest.raises(ArcFaceError, match="Stale file handle") as caught:
        resume(Loaded(), tmp_path, PLAN, World(1, 0))
    assert not isinstance(caught.value, InvalidInput)


@pytest.mark.parametrize("name", [BACKBONE_FILE, "manifest.json", "head-000000000.safetensors"])
def test_a_checkpoint_that_this_user_may_not_read_ends_the_start_and_nothing_is_renamed(
    tmp_path, save, monkeypatch, name
):
    save(4)
    save(8)
    forbidden, before = tmp_path / "step-00000008" / name, sorted(tmp_path.iterdir())
    open_file = positioned_file.os.open

    def open_or_refuse(path, *given, **named):
        if Path(path) == forbidden:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_file(path, *given, **named)

    settings, given = make_writer(tmp_path).settings, (PLAN, World(1, 0), RankIdentity())
    monkeypatch.setattr(positioned_file.os, "open", open_or_refuse)
    with pytest.raises(InvalidInput, match=rf"step-00000008/{name}: cannot be read \(Permission denied\)"):
        Checkpointing.start(settings, Loaded(), *given)
    assert [each for each in before if not each.name.startswith(".")] == sorted(tmp_path.glob("[!.]*"))


def test_a_checkpoint_of_a_kind_unknown_ends_the_start(tmp_path, save):
    save(4)
    save(8)
    rewrite_manifest(tmp_path / "step-00000008", lambda document: document.update(format="arcface-checkpoint/2"))
    with pytest.raises(InvalidInput, match=r"step-00000008/manifest\.json: format: "):
        resume(Loaded(), tmp_path, PLAN, World(1, 0))


def test_an_older_checkpoint_that_cannot_be_read_keeps_nobody_from_the_newest(tmp_path, save):
    save(4)
    save(8)
    rewrite_manifest(tmp_path / "step-00000004", lambda document: document.update(format="arcface-checkpoint/2"))
    assert resume(Loaded(), tmp_path, PLAN, World(1, 0)).step == 8


def test_a_run_without_checkpoints_starts_anew(tmp_path):
    assert resume(Loaded(), tmp_path / "none", PLAN, World(1, 0)) is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: flip_the_last_bit(folder / BACKBONE_FILE), id="flipped bits"),
        pytest.param(lambda folder: (folder / "manifest.json").unlink(), id="no manifests"),
    ],
)
def test_a_run_never_starts_anew_beside_damaged_checkpoints(tmp_path, save, damage):
    save(4)
    save(8)
    for folder in tmp_path.glob("step-*"):
        damage(folder)
    with pytest.raises(InvalidInput) as caught:
        resume(Loaded(), tmp_path, PLAN, World(1, 0))
    assert str(caught.value).startswith(f"{tmp_path}: holds 2 checkpoints, but those that were tried are damaged: ")
    assert "move all away to start anew" in str(caught.value)


OTHER_IMAGES = dataclasses.replace(PLAN, data_fingerprint="e" * 64, content_fingerprint="e" * 64)
OTHER_CONTENT = dataclasses.replace(PLAN, content_fingerprint="e" * 64)


@pytest.mark.parametrize("plan", [OTHER_IMAGES, OTHER_CONTENT])
def test_a_run_on_other_images_is_refused_with_both_fingerprints_and_the_way_out(tmp_path, save, plan):
    save(4)
    with pytest.raises(InvalidInput, match=r"other images \(fingerprint dddd.* data.path is eeee.*give the images of"):
        resume(Loaded(), tmp_path, plan, World(1, 0))


def test_what_a_release_saved_that_knew_no_sizes_goes_on_with_images_of_the_same_names(tmp_path, save):
    save(4)
    rewrite_manifest(tmp_path / "step-00000004", lambda document: document.pop("contentFingerprint"))
    assert resume(Loaded(), tmp_path, OTHER_CONTENT, World(1, 0)).step == 4


def without_fingerprints(document):
    for name in ("dataFingerprint", "contentFingerprint"):
        document.pop(name)


def test_what_an_older_release_saved_goes_on_with_any_images(tmp_path, save):
    save(4)
    rewrite_manifest(tmp_path / "step-00000004", without_fingerprints)
    assert resume(Loaded(), tmp_path, OTHER_IMAGES, World(1, 0)).step == 4
