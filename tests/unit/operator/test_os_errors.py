"""An error of the system that may pass is worth another try, and says nothing about what the user wrote."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_operator.commands.operator import operator
from arcface_operator.kubernetes import credentials
from arcface_operator.local.kubelet.directories import create_claims, locked_workdir, parse_volumes
from arcface_operator.preflight import data
from arcface_operator.preflight.job_file import read_job
from support.builders.jobs import make_job

JOB = make_job(evaluation={"claimName": "sets", "sets": ["lfw"]})


def lock(path: Path) -> None:
    with locked_workdir(path / "work"):
        pass


def check_sets(path: Path) -> None:
    assert JOB.spec.evaluation is not None
    data.check_evaluation_sets(JOB.spec.evaluation, {"sets": path})


async def connect() -> None:
    async with credentials.open_client():
        pass


TOUCHES: dict[str, Callable[[Path], Any]] = {
    "job file": lambda path: read_job(path / "job.yaml"),
    "settings": lambda path: operator.main(["--settings", str(path / "s.yaml")], standalone_mode=False),
    "volume": lambda path: parse_volumes([f"faces={path}"], JOB),
    "claims": lambda path: create_claims({"checkpoints": path / "c"}),
    "workdir": lock,
    "data": lambda path: data.count_data(JOB.spec, {"faces": path}),
    "sets": check_sets,
    "namespace": lambda _: credentials.own_namespace(),
}


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("touch", list(TOUCHES))
def test_a_file_that_cannot_be_had_just_now_is_worth_another_try(
    touch: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(data, "is_installed", lambda _: True)
    with monkeypatch.context() as broken:
        for name in ("stat", "mkdir", "open", "read_text", "read_bytes"):
            broken.setattr(Path, name, fail)
        with pytest.raises(ArcFaceError) as caught:
            TOUCHES[touch](tmp_path)
    assert not isinstance(caught.value, InvalidInput)
    assert "this may pass, try again" in str(caught.value)


def test_credentials_that_cannot_be_read_just_now_are_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(**_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(credentials.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", __file__)
    monkeypatch.setattr(credentials, "load_kube_config", fail)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ArcFaceError) as caught:
        asyncio.run(connect())
    assert not isinstance(caught.value, InvalidInput)
