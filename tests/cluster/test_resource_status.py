"""The status of the resource as the API server keeps it and kubectl prints it."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from arcface_api.resource.status import (
    ArcFaceTrainingJobStatus,
    CheckpointStatus,
    EvaluationStatus,
    IjbResult,
    PairResult,
    Progress,
    WorkersStatus,
)
from support.job_requests import MERGE, STRICT, causes, create, jobs_path
from testbed.control_plane.api_answers import answer

STATUS = ArcFaceTrainingJobStatus(
    phase="Training",
    restarts=1,
    workers=WorkersStatus(desired=8, ready=8, summary="8/8"),
    progress=Progress(
        epoch=3,
        epochs="3/20",
        step=17058,
        total_steps=113720,
        loss=12.345678,
        images_per_second=2345.6789,
        step_milliseconds=436.54321,
        estimated_completion_time=datetime(2026, 11, 25, 8, tzinfo=UTC),
        updated_at=datetime(2026, 11, 24, 12, tzinfo=UTC),
    ),
    checkpoint=CheckpointStatus(
        path="step-00016000", step=16000, saved_at=datetime(2026, 11, 24, 11, tzinfo=UTC), sha256="0" * 64
    ),
    evaluation=EvaluationStatus(
        checkpoint="step-00016000",
        results=[
            PairResult(dataset="cfp_fp", accuracy=0.98, std=0.01, pairs=7000),
            PairResult(dataset="lfw", accuracy=0.9981666666666668, std=0.0027, pairs=6000),
        ],
        ijb=[IjbResult(dataset="IJBC", tar_at_far={"1e-4": 0.962775})],
    ),
)
SHOWN = {
    "NAME": "quick",
    "PHASE": "Training",
    "READY": "8/8",
    "EPOCH": "3/20",
    "LOSS": "12.3457",
    "IMG/S": "2345.6789",
    "STEP-MS": "436.5432",
    "LFW": "0.998167",
    "RESTARTS": "1",
}
WIDE = {
    "CFP_FP": "0.98",
    "AGEDB_30": "",
    "IJBC": "0.962775",
    "CHECKPOINT": "16000",
    "ETA": "2026-11-25T08:00:00Z",
}


@pytest.fixture
def job_with_status(api: httpx.Client, namespace: str) -> Any:
    create(api, namespace)
    return answer(
        api.patch(
            f"{jobs_path(namespace)}/quick/status",
            params=STRICT,
            headers=MERGE,
            content=f'{{"status": {STATUS.to_json()}}}',
        )
    )


@pytest.mark.parametrize("name", ["arcfacetrainingjobs", "arcfacejobs", "arcfacejob", "afj"])
def test_kubectl_prints_a_job_under_each_name_of_its_kind(control_plane, job_with_status, namespace, name):
    assert SHOWN.items() <= columns(control_plane.kubectl("get", name, "--namespace", namespace)).items()


def test_kubectl_prints_more_if_asked_to(control_plane, job_with_status, namespace):
    shown = columns(control_plane.kubectl("get", "arcfacejobs", "--namespace", namespace, "--output", "wide"))
    assert (SHOWN | WIDE).items() <= shown.items()


def columns(table: str) -> dict[str, str]:
    """The first row of a table by its headings, whose place kubectl keeps under them."""
    heading, row, *_ = table.splitlines()
    starts = [found.start() for found in re.finditer(r"\S+", heading)]
    ends = [*starts[1:], None]
    return {heading[a:b].strip(): row[a:b].strip() for a, b in zip(starts, ends, strict=True)}


def test_the_operator_writes_status_and_nothing_else_there(job_with_status):
    assert job_with_status["status"] == json.loads(STATUS.to_json())
    assert job_with_status["metadata"]["generation"] == 1


def test_a_status_that_is_not_ours_is_refused(api, job_with_status, namespace):
    refusal = api.patch(
        f"{jobs_path(namespace)}/quick/status",
        params=STRICT,
        headers=MERGE,
        content=json.dumps({"status": {"phase": "Sleeping"}}),
    )
    ((named, _),) = causes(refusal)
    assert named == "status.phase"
