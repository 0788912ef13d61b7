"""Columns of `kubectl get arcfacejobs`; tests/cluster/test_resource.py has kubectl print them."""

import re

import pytest

from arcface_api.resource.crd import job_schema
from arcface_api.resource.printer_columns import printer_columns

STEP = re.compile(r"\.(\w+)|\[\?\(@\.(\w+)==\"(\w+)\"\)\]|\['([^']+)'\]")


def test_columns_stand_in_the_order_of_the_contract():
    always = [column["name"].upper() for column in printer_columns() if "priority" not in column]
    assert always == ["PHASE", "READY", "EPOCH", "LOSS", "IMG/S", "STEP-MS", "LFW", "RESTARTS", "AGE"]


def test_wide_columns_add_the_other_sets_the_checkpoint_and_the_eta():
    wide = [column["name"].upper() for column in printer_columns() if column.get("priority") == 1]
    assert wide == ["CFP_FP", "AGEDB_30", "CALFW", "CPLFW", "IJBB", "IJBC", "CHECKPOINT", "ETA"]


@pytest.mark.parametrize("column", printer_columns(), ids=lambda column: column["name"])
def test_every_column_reads_a_field_of_its_type(column):
    if column["jsonPath"].startswith(".metadata"):
        return
    schema = job_schema()
    for field, key, _, _ in STEP.findall(column["jsonPath"]):
        schema = schema["items"] if key else schema.get("properties", {}).get(field) or schema["additionalProperties"]
    assert schema["type"] == column["type"]
