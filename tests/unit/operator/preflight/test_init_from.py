"""The checkpoint that a job begins with, looked at before anything is taken."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_api.resource.spec import ModelSpec
from arcface_faces.checkpoint import MANIFEST_FILE, folder_name
from arcface_faces.checkpoint_writing import write_manifest
from arcface_operator.preflight.init_from import check_init_from
from support.builders.jobs import make_job
from support.builders.manifests import make_manifest


def write(folder: Path, step: int, **model: Any) -> Path:
    """A checkpoint of which only the manifest is there."""
    checkpoint = folder / folder_name(step)
    checkpoint.mkdir(parents=True)
    write_manifest(checkpoint, make_manifest(ModelSpec(**model), step).to_json())
    return checkpoint


def check(volumes: dict[str, Path], path: str = "r50", **model: Any) -> None:
    check_init_from(make_job(model={"initFrom": {"claimName": "models", "path": path}, **model}).spec.model, volumes)


def test_a_like_network_is_taken_from_the_newest_checkpoint_or_the_one_that_is_named(tmp_path: Path) -> None:
    write(tmp_path / "r50", 99_999_999, backbone="iresnet50")
    write(tmp_path / "r50", 100_000_000)
    check({"models": tmp_path}, dropout=0.4)
    check({"models": tmp_path}, "r50/step-99999999", backbone="iresnet50")
    with pytest.raises(InvalidInput, match=r"^spec\.model\.backbone is iresnet100, the checkpoint's is iresnet50 \("):
        check({"models": tmp_path}, "r50/step-99999999")


def test_nothing_is_known_of_a_claim_without_a_directory_and_of_jobs_with_fresh_weights(tmp_path: Path) -> None:
    check({"faces": tmp_path})
    check_init_from(make_job().spec.model, {"faces": tmp_path})


@pytest.mark.parametrize("path", ["", "none", "file"])
def test_a_path_without_a_checkpoint_is_refused_by_name(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"^spec\.model\.initFrom\.path: .* is neither a checkpoint nor a folder of"):
        check({"models": tmp_path}, path)


def test_a_manifest_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (write(tmp_path / "r50", 10) / MANIFEST_FILE).write_text("{}")
    with pytest.raises(InvalidInput, match=r"^spec\.model\.initFrom: .*/manifest\.json: model: required field is miss"):
        check({"models": tmp_path})


def test_a_volume_that_does_not_answer_is_no_wrong_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "r50", 10)

    def stale(path: Path) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(ArcFaceError, match="this may pass, try again") as caught:
        check({"models": tmp_path})
    assert not isinstance(caught.value, InvalidInput)
