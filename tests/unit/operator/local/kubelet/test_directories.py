import errno
import fcntl
import os
from pathlib import Path

import pytest

from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput
from arcface_operator.local.kubelet.directories import (
    VOLUME_LOCK,
    Workdir,
    bind_claims,
    create_claims,
    locked_checkpoints,
    locked_workdir,
    parse_volumes,
)
from support.builders.jobs import make_job

JOB = make_job(evaluation={"claimName": "sets"})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "file").touch()
    return tmp_path


def test_directories_are_relative_to_the_current_one(here: Path) -> None:
    assert parse_volumes(["faces=images"], JOB) == {"faces": here / "images"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["faces"], "write CLAIM=DIR, e.g. --volume faces=./data", id="no directory"),
        pytest.param(
            ["other=images"], "the job has no claim 'other'; its claims: faces, checkpoints, sets", id="other claim"
        ),
        pytest.param(["faces=none"], "is not a directory; create it or correct the path", id="missing directory"),
        pytest.param(["faces=file"], "is not a directory; create it or correct the path", id="file"),
        pytest.param(
            ["faces=images", "faces=images"], "faces was given before; give each claim once", id="given twice"
        ),
    ],
)
def test_wrong_options_are_refused(here: Path, options: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^--volume {options[-1]}: ") as caught:
        parse_volumes(options, JOB)
    assert message in str(caught.value)


def test_checkpoints_start_in_a_new_directory_of_the_workdir(here: Path) -> None:
    given = {"faces": here / "images", "sets": here / "images"}
    claims = bind_claims(JOB, given, Path("w"))
    assert claims == {**given, "checkpoints": here / "w" / "volumes" / "checkpoints"}
    assert not (here / "w").exists()
    create_claims(claims)
    assert claims["checkpoints"].is_dir()


def test_a_directory_that_cannot_be_made_is_told_with_the_option_to_give(here: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        create_claims({"checkpoints": here / "file" / "checkpoints"})
    assert str(caught.value) == (
        f"{here}/file/checkpoints: cannot be created (Not a directory): give claim checkpoints a directory with "
        "--volume checkpoints=DIR"
    )


def test_images_without_a_directory_are_refused_with_the_option_to_give(here: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        bind_claims(JOB, {"sets": here / "images"}, here / "w")
    assert str(caught.value) == ("spec.data.claimName: no directory for claim faces; give it with --volume faces=DIR")
    with pytest.raises(InvalidInput, match=r"^spec\.evaluation\.claimName: .* --volume sets=DIR$"):
        bind_claims(JOB, {"faces": here / "images"}, here / "w")


def test_what_is_fine_tuned_is_read_and_so_must_be_there(here: Path) -> None:
    job = make_job(model={"initFrom": {"claimName": "models"}})
    with pytest.raises(InvalidInput, match=r"^spec\.model\.initFrom\.claimName: .* --volume models=DIR$"):
        bind_claims(job, {"faces": here / "images"}, here / "w")
    claims = bind_claims(job, {"faces": here / "images", "models": here / "images"}, here / "w")
    assert claims["models"] == here / "images"


def test_images_that_lie_in_the_workdir_are_taken(here: Path) -> None:
    folder = here / "w" / "volumes" / "faces"
    folder.mkdir(parents=True)
    assert bind_claims(make_job(), {}, here / "w")["faces"] == folder


def test_one_claim_may_serve_all_purposes(here: Path) -> None:
    job = make_job(data={"claimName": "all"}, checkpoint={"claimName": "all"}, evaluation={"claimName": "all"})
    assert bind_claims(job, {"all": here / "images"}, here / "w") == {"all": here / "images"}


def test_two_runs_in_one_directory_are_refused(tmp_path: Path) -> None:
    with locked_workdir(tmp_path), pytest.raises(InvalidInput) as caught, locked_workdir(tmp_path):
        pass
    assert str(caught.value) == f"{tmp_path}: in use by another run; stop that one or give another --workdir"


def test_the_directory_is_free_again_after_the_run(tmp_path: Path) -> None:
    with locked_workdir(tmp_path / "new"):
        pass
    with locked_workdir(tmp_path / "new") as workdir:
        assert workdir.pods.is_dir()
        assert workdir.logs.is_dir()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="give another directory with --workdir"), locked_workdir(tmp_path / "file"):
        pass


def test_checkpoints_are_one_runs_alone_and_the_other_is_told_whose(here: Path) -> None:
    with locked_checkpoints(here / "checkpoints", Workdir(here / "w")) as lock:
        assert lock is not None
        with (
            pytest.raises(ArcFaceError) as caught,
            locked_checkpoints(here / "checkpoints", Workdir(here / "other")),
        ):
            pytest.fail("both have it")
    assert caught.value.exit_code == ExitCode.FAILED  # it passes
    assert str(caught.value) == (
        f"{here}/checkpoints: in use by another run (process {os.getpid()} on {os.uname().nodename}, --workdir "
        f"{here}/w), or its ranks still save; stop that one, or give the job another checkpoint.path"
    )
    with locked_checkpoints(here / "checkpoints", Workdir(here / "other")) as lock:
        assert f"{here}/other\n" in (here / "checkpoints" / VOLUME_LOCK).read_text()


def test_whoever_inherits_the_lock_holds_it_on(here: Path) -> None:
    with locked_checkpoints(here, Workdir(here)) as lock:
        assert lock is not None
        inherited = os.dup(lock)
    with pytest.raises(ArcFaceError, match="its ranks still save"), locked_checkpoints(here, Workdir(here)):
        pytest.fail("it is held")
    os.close(inherited)
    with locked_checkpoints(here, Workdir(here)) as lock:
        assert lock is not None


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_volume_without_locks_is_used_without(here: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(_file: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked_checkpoints(here, Workdir(here)) as lock:
        assert lock is None


def test_checkpoints_that_cannot_be_written_are_told(here: Path) -> None:
    with (
        pytest.raises(InvalidInput, match=r"file/quick: checkpoints cannot be written .* --volume$"),
        locked_checkpoints(here / "file" / "quick", Workdir(here)),
    ):
        pytest.fail("there is no folder")
