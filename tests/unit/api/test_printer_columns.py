import re
from datetime import UTC, datetime
from typing import Any

import pytest

from arcface_api.crd import job_schema
from arcface_api.printer_columns import printer_columns
from arcface_api.status import (
    ArcFaceTrainingJobStatus,
    EvaluationStatus,
    IjbResult,
    PairResult,
    Progress,
    WorkersStatus,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
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
        updated_at=NOW,
    ),
    evaluation=EvaluationStatus(
        checkpoint="step-00017058",
        results=[
            PairResult(dataset="cfp_fp", accuracy=0.98, std=0.01, pairs=7000),
            PairResult(dataset="lfw", accuracy=0.9981666666666668, std=0.0027, pairs=6000),
        ],
        ijb=[IjbResult(dataset="IJBC", tar_at_far={"1e-4": 0.962775})],
    ),
)

STEP = re.compile(r"\.(\w+)|\[\?\(@\.(\w+)==\"(\w+)\"\)\]|\['([^']+)'\]")


def printed(path: str, value: Any) -> Any:
    """What kubectl finds at a JSONPath of the three forms that the columns use."""
    for field, key, wanted, name in STEP.findall(path):
        if value is None:
            return None
        value = next((item for item in value if item[key] == wanted), None) if key else value.get(field or name)
    return value


def row() -> dict[str, Any]:
    job = {"status": STATUS.model_dump(by_alias=True, mode="json"), "metadata": {"creationTimestamp": "now"}}
    return {column["name"]: printed(column["jsonPath"], job) for column in printer_columns()}


def test_columns_stand_in_the_order_of_the_contract():
    always = [column["name"].upper() for column in printer_columns() if "priority" not in column]
    assert always == ["PHASE", "READY", "EPOCH", "LOSS", "IMG/S", "STEP-MS", "LFW", "RESTARTS", "AGE"]


def test_wide_columns_add_the_other_sets_the_checkpoint_and_the_eta():
    wide = [column["name"].upper() for column in printer_columns() if column.get("priority") == 1]
    assert wide == ["CFP_FP", "AGEDB_30", "CALFW", "CPLFW", "IJBB", "IJBC", "CHECKPOINT", "ETA"]


def test_columns_show_a_running_job():
    shown = row()
    assert (shown["Phase"], shown["Ready"], shown["Epoch"], shown["Restarts"]) == ("Training", "8/8", "3/20", 1)
    assert (shown["LFW"], shown["CFP_FP"], shown["IJBC"]) == (0.998167, 0.98, 0.962775)
    assert shown["AGEDB_30"] is None


def test_measured_figures_are_short_enough_for_a_table():
    shown = row()
    assert (shown["Loss"], shown["Img/s"], shown["Step-ms"]) == (12.3457, 2345.6789, 436.5432)


@pytest.mark.parametrize("column", printer_columns(), ids=lambda column: column["name"])
def test_every_column_reads_a_field_of_its_type(column):
    if column["jsonPath"].startswith(".metadata"):
        return
    schema = job_schema()
    for field, key, _, _ in STEP.findall(column["jsonPath"]):
        schema = schema["items"] if key else schema.get("properties", {}).get(field) or schema["additionalProperties"]
    assert schema["type"] == column["type"]
