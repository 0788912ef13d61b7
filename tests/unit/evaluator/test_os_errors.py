"""Errors of the system that pass are worth another try: no set is called wrong for them."""

import errno
import os
from pathlib import Path

import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_evaluator.networks import read_preprocessing
from arcface_evaluator.report.document import EvaluationFile
from arcface_evaluator.report.provenance import InputFile
from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.sets.release_images import open_images
from support.builders.ijb_release import write_release


def fail(number):
    """A call of the system that ends so."""

    def call(*_words, **_options):
        raise OSError(number, os.strerror(number))

    return call


READS = {
    "release": (Path, "read_text", lambda release: open_ijb(release.folder)),
    "images of a release": (os, "scandir", open_images),
    "an image": (os, "open", lambda release: open_images(release).image(0)),
    "document": (os, "open", lambda release: EvaluationFile.read(release.pairs_file)),
    "input": (Path, "open", lambda release: InputFile.of(release.pairs_file)),
    "MindIR": (Path, "is_file", lambda release: read_preprocessing(release.folder / "a.mindir", None)),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize(("number", "passes"), [(errno.ESTALE, True), (errno.EIO, True), (errno.EACCES, False)])
def test_only_what_lasts_is_invalid_input(tmp_path, monkeypatch, name, number, passes):
    release = open_ijb(write_release(tmp_path))
    owner, call, read = READS[name]
    monkeypatch.setattr(owner, call, fail(number))
    with pytest.raises(ArcFaceError) as caught:
        read(release)
    monkeypatch.undo()
    assert isinstance(caught.value, InvalidInput) != passes
    assert ("this may pass, try again" in str(caught.value)) == passes
