"""Every alert fires on series that it is for, and keeps silent on those that it is not for."""

import subprocess
from typing import Any

import pytest
import yaml

from support.shipped import RULES, alerts

RANK = 'namespace="faces",arcface_io_job="r100",rank="{rank}"'
JOB = 'namespace="faces",name="r100"'
OF_RANKS = {"namespace": "faces", "arcface_io_job": "r100"}
OF_JOBS = {"namespace": "faces", "name": "r100"}


def ranks(name: str, *values: str) -> dict[str, str]:
    """A series of each rank."""
    return {f"{name}{{{RANK.format(rank=rank)}}}": value for rank, value in enumerate(values)}


def job(name: str, labels: str, values: str) -> dict[str, str]:
    """A series about the job."""
    return {f"{name}{{{JOB}{labels}}}": values}


TRAINS = job("arcface_job_phase", ',phase="Training"', "1x240")
SINCE_START = job("arcface_job_training_start_timestamp_seconds", "", "0x240")
LOOKS = {"arcface_operator_reconcile_seconds_count{}": "0+60x240"}
WAIT = "arcface_train_data_wait_seconds_total"

CASES = [
    ("ArcFaceJobStalled", ranks("arcface_train_step", "70x30"), 20, {**OF_RANKS, "rank": "0"}, "stands still"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "0+1x30"), 20, None, "steps"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "0x30"), 20, None, "compiles before its first step"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "0+1x14 14x8 15+1x30"), 23, None, "verifies for 8 minutes"),
    ("ArcFaceJobDiverging", ranks("arcface_train_skipped_steps_total", "0+1x30", "0+1x30"), 15, OF_RANKS, "skips"),
    ("ArcFaceJobDiverging", ranks("arcface_train_skipped_steps_total", "2x30", "2x30"), 15, None, "skipped long ago"),
    (
        "ArcFaceJobDiverging",
        {**ranks("arcface_train_skipped_steps_total", "0+1x30"), **ranks("arcface_train_loss_scale", "1024x30")},
        15,
        None,
        "the loss scale can still fall",
    ),
    (
        "ArcFaceJobDiverging",
        {**ranks("arcface_train_skipped_steps_total", "0+1x30"), **ranks("arcface_train_loss_scale", "1x30")},
        15,
        OF_RANKS,
        "the loss scale is at its floor",
    ),
    ("ArcFaceJobDiverging", ranks("arcface_train_loss", "2.5 NaN NaN NaN NaN NaN"), 5, OF_RANKS, "loss is no number"),
    ("ArcFaceJobDiverging", ranks("arcface_train_loss", "2.5x30"), 5, None, "loss is a number"),
    (
        "ArcFaceJobFailed",
        job("arcface_job_failed", ',reason="Diverged"', "1x9"),
        5,
        {**OF_JOBS, "reason": "Diverged"},
        "failed",
    ),
    (
        "ArcFaceJobFailed",
        job("arcface_job_failed", ',reason="GateMissed"', "1x9"),
        5,
        None,
        "another alert tells of gates",
    ),
    ("ArcFaceJobRestartsTooOften", job("arcface_job_restarts_capped", "", "1x9"), 5, OF_JOBS, "they count by now"),
    ("ArcFaceJobRestartsTooOften", job("arcface_job_restarts_capped", "", "0x9"), 5, None, "they do not"),
    ("ArcFaceRankStraggles", ranks(WAIT, "0+1x60", "0+1x60", "0+30x60"), 30, OF_RANKS, "one rank waits"),
    ("ArcFaceRankStraggles", ranks(WAIT, "0+30x60", "0+30x60", "0+30x60"), 30, None, "all wait"),
    ("ArcFaceJobStarvesForData", ranks(WAIT, "0+30x60", "0+30x60"), 30, OF_RANKS, "half the time"),
    ("ArcFaceJobStarvesForData", ranks(WAIT, "0+3x60", "0+3x60"), 30, None, "a twentieth of the time"),
    ("ArcFaceCheckpointTooOld", {**TRAINS, **SINCE_START}, 130, {**OF_JOBS, "phase": "Training"}, "never saved"),
    (
        "ArcFaceCheckpointTooOld",
        {**TRAINS, **SINCE_START, **job("arcface_job_checkpoint_timestamp_seconds", "", "60x240")},
        130,
        {**OF_JOBS, "phase": "Training"},
        "saved long ago",
    ),
    (
        "ArcFaceCheckpointTooOld",
        {**TRAINS, **SINCE_START, **job("arcface_job_checkpoint_timestamp_seconds", "", "3600x240")},
        130,
        None,
        "saved an hour ago",
    ),
    (
        "ArcFaceCheckpointTooOld",
        {
            **TRAINS,
            **job("arcface_job_training_start_timestamp_seconds", "", "7000x240"),
            **job("arcface_job_checkpoint_timestamp_seconds", "", "0x240"),
        },
        130,
        None,
        "resumed a moment ago",
    ),
    (
        "ArcFaceCheckpointTooOld",
        {**job("arcface_job_phase", ',phase="Training"', "0x240"), **SINCE_START},
        130,
        None,
        "ended",
    ),
    (
        "ArcFaceGateFailed",
        job("arcface_job_gate_passed", ',metric="lfw.accuracy"', "0x9"),
        5,
        {**OF_JOBS, "metric": "lfw.accuracy"},
        "missed",
    ),
    ("ArcFaceGateFailed", job("arcface_job_gate_passed", ',metric="lfw.accuracy"', "1x9"), 5, None, "passed"),
    ("ArcFaceJobUnreachable", job("arcface_job_reachable", "", "0x30"), 16, OF_JOBS, "cut off"),
    ("ArcFaceJobUnreachable", job("arcface_job_reachable", "", "0x10 1x20"), 16, None, "a start that took a while"),
    ("ArcFaceJobUnreachable", job("arcface_job_reachable", "", "0x10 _x20"), 16, None, "ended"),
    (
        "ArcFaceRankTableStuck",
        {
            **job("arcface_job_rank_table_ranks", ',state="ready"', "8x30"),
            **job("arcface_job_rank_table_ranks", ',state="total"', "16x30"),
        },
        12,
        OF_JOBS,
        "half of it",
    ),
    (
        "ArcFaceRankTableStuck",
        {
            **job("arcface_job_rank_table_ranks", ',state="ready"', "0 8 16x30"),
            **job("arcface_job_rank_table_ranks", ',state="total"', "16x30"),
        },
        12,
        None,
        "whole after two minutes",
    ),
    ("ArcFaceOperatorDown", {'arcface_operator_is_leader{pod="a"}': "0x30"}, 10, {}, "none leads"),
    ("ArcFaceOperatorDown", {"up{}": "1x30"}, 10, {}, "none is found"),
    (
        "ArcFaceOperatorDown",
        {'arcface_operator_is_leader{pod="a"}': "1x4 0x30", 'arcface_operator_is_leader{pod="b"}': "0x6 1x30"},
        10,
        None,
        "another one takes over",
    ),
    (
        "ArcFaceOperatorDown",
        {
            'arcface_operator_is_leader{namespace="here",pod="a"}': "1x30",
            'arcface_operator_is_leader{namespace="there",pod="b"}': "0x30",
        },
        10,
        {"namespace": "there"},
        "none leads in one of two releases",
    ),
    ("ArcFaceOperatorFails", {**LOOKS, "arcface_operator_reconcile_errors_total{}": "0+30x60"}, 30, {}, "half fail"),
    ("ArcFaceOperatorFails", {**LOOKS, "arcface_operator_reconcile_errors_total{}": "0+1x60"}, 30, None, "few fail"),
]


@pytest.mark.parametrize(
    ("alert", "series", "minute", "labels"),
    [pytest.param(*case[:4], id=f"{case[0]}: {case[4]}") for case in CASES],
)
def test_an_alert_fires_on_what_it_is_for(
    promtool: str, tmp_path: Any, alert: str, series: dict[str, str], minute: int, labels: dict[str, str] | None
) -> None:
    severity = next(rule["labels"]["severity"] for rule in alerts() if rule["alert"] == alert)
    told = {"__name__": "ALERTS", "alertname": alert, "alertstate": "firing", "severity": severity, **(labels or {})}
    written = "{" + ",".join(f'{name}="{value}"' for name, value in told.items()) + "}"
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
                "eval_time": f"{minute}m",
                "exp_samples": [] if labels is None else [{"labels": written, "value": 1}],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_both_ways() -> None:
    for rule in alerts():
        assert {case[3] is None for case in CASES if case[0] == rule["alert"]} == {True, False}, rule["alert"]


def test_the_rules_are_sound(promtool: str) -> None:
    subprocess.run([promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES)], check=True)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert all(rule["annotations"][name].strip() for name in ("summary", "description", "runbook"))
