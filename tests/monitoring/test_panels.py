"""What the panels' queries give on recorded series, by Prometheus' own engine (promtool)."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.shipped import DASHBOARDS, filled_in, panels

SHOWN = {(name, panel["title"]): panel for name, dashboard in DASHBOARDS.items() for panel in panels(dashboard)}
NOW = 240
"""Minute of the questions."""
Expected = dict[str, float]
"""Values by labels as they are written in PromQL."""


def job(metric: str, values: str, *, namespace: str = "faces", name: str = "r100", **labels: str) -> dict[str, str]:
    """A series about a job as the operator serves it, from its first minute on."""
    told = {"namespace": namespace, "name": name, **labels}
    return {f"arcface_job_{metric}{{{written(told)}}}": values}


def ranks(metric: str, values: str, *, namespace: str = "faces", **labels: str) -> dict[str, str]:
    """A series of a rank of the job r100."""
    told = {"namespace": namespace, "arcface_io_job": "r100", **labels}
    return {f"arcface_train_{metric}{{{written(told)}}}": values}


def leader(namespace: str, pod: str, values: str) -> dict[str, str]:
    """Whether a replica leads."""
    return {f'arcface_operator_is_leader{{namespace="{namespace}",pod="{pod}"}}': values}


def written(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


BOTH = ("team-a", "team-b")
TWO_TENANTS = {
    "phase": [job("phase", "1x300", namespace=each, phase="Training") for each in BOTH],
    "accuracy": [
        job("evaluation_accuracy", f"0.9{digit}x300", namespace=each, dataset="lfw")
        for digit, each in enumerate(BOTH, 7)
    ],
    "images": [
        ranks("images_total", f"0+{60 * rate}x300", namespace=each, rank=str(rank))
        for rate, each in enumerate(BOTH, 1)
        for rank in range(2)
    ],
}
TRAINS = job("phase", "1x300", phase="Training") | job("training_start_timestamp_seconds", "3600x300")
ENDED = (
    job("phase", "1x100 0x200", phase="Training")
    | job("phase", "0x100 1x200", phase="Succeeded")
    | job("training_start_timestamp_seconds", "0x100 stale")
    | job("checkpoint_timestamp_seconds", "5400x300")
    | job("restarts_total", "5x300")
    | job("workers", "4x300", state="desired")
    | job("workers", "0x300", state="ready")
    | job("workers", "4x300", state="succeeded")
    | ranks("epoch", "0+1x20 stale", rank="0")
    | ranks("step", "70x235 stale", rank="0")
)
BY_NAME = '{namespace="%s",name="r100"}'


def merged(series: list[dict[str, str]]) -> dict[str, str]:
    return {name: values for each in series for name, values in each.items()}


CASES: list[tuple[str, str, int, dict[str, str], Expected, str]] = [
    (
        "fleet",
        "Every job",
        0,
        merged(TWO_TENANTS["phase"]),
        {f'{{namespace="{each}",name="r100",phase="Training"}}': 1 for each in BOTH},
        "two tenants' jobs of one name are two rows",
    ),
    (
        "fleet",
        "Every job",
        2,
        merged(TWO_TENANTS["images"]),
        {BY_NAME % each: 2 * rate for rate, each in enumerate(BOTH, 1)},
        "whose rows have the figures of their own ranks",
    ),
    (
        "fleet",
        "Every job",
        3,
        job("waiting_start_timestamp_seconds", "7200x300", phase="Pending", reason="DevicesMissing"),
        {'{namespace="faces",name="r100",reason="DevicesMissing"}': 7200},
        "why it waits and for how long",
    ),
    (
        "fleet",
        "Leaderboard",
        0,
        merged(TWO_TENANTS["accuracy"]),
        {
            f'{{namespace="team-{each}",name="r100",dataset="lfw"}}': 0.9 + digit / 100
            for digit, each in ((7, "a"), (8, "b"))
        },
        "two tenants' jobs of one name have their own places",
    ),
    (
        "fleet",
        "Jobs by phase",
        0,
        job("phase", "1x300", phase="Training", pod="a") | job("phase", "1x300", phase="Training", pod="b"),
        {'{phase="Training"}': 1},
        "a job that two replicas serve is one",
    ),
    ("fleet", "Failed jobs by reason", 0, job("phase", "1x300", phase="Training"), {}, "no nameless zero"),
    (
        "fleet",
        "Failed jobs by reason",
        0,
        merged([job("failed", "1x300", name=each, reason="Diverged") for each in ("one", "other")]),
        {'{reason="Diverged"}': 2},
        "counted by what it was",
    ),
    (
        "fleet",
        "Leaders",
        0,
        leader("here", "a", "1x300") | leader("here", "b", "0x300") | leader("there", "c", "1x300"),
        {'{namespace="here"}': 1, '{namespace="there"}': 1},
        "one of each release",
    ),
    (
        "fleet",
        "Leaders",
        0,
        leader("here", "a", "1x300") | leader("there", "c", "1x220 stale"),
        {'{namespace="here"}': 1, '{namespace="there"}': 0},
        "a release without its pods",
    ),
    ("job", "Phase", 0, ENDED, {'{phase="Succeeded"}': 1}, "has ended"),
    ("job", "Pods that run or are done", 0, ENDED, {"{}": 1}, "has ended"),
    ("job", "Restarts", 0, ENDED, {"{}": 5}, "has ended"),
    ("job", "Step", 0, ENDED, {"{}": 70}, "has ended"),
    ("job", "Checkpoint age", 0, ENDED, {}, "has ended"),
    ("job", "Checkpoint age", 0, TRAINS, {"{}": 10800}, "before the first one"),
    (
        "job",
        "Checkpoint age",
        0,
        TRAINS | job("checkpoint_timestamp_seconds", "14000x300"),
        {"{}": 400},
        "since the newest one",
    ),
    (
        "job",
        "Checkpoint age",
        0,
        TRAINS | job("checkpoint_timestamp_seconds", "60x300"),
        {"{}": 10800},
        "resumed after a long rest",
    ),
]


def asked(dashboard: str, title: str, query: int, series: dict[str, str], expected: Expected, cluster: str) -> Any:
    """A test as promtool reads it."""
    expression = filled_in(
        SHOWN[dashboard, title]["targets"][query]["expr"],
        "5m",
        cluster=cluster,
        namespace=".*" if dashboard == "fleet" else "faces",
        job="r100",
    )
    return {
        "interval": "1m",
        "name": f"{dashboard}: {title}",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": f"{NOW}m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
            }
        ],
    }


def fulfilled(promtool: str, folder: Path, *tests: Any) -> None:
    """Let promtool ask what the tests ask."""
    file = folder / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "fuzzy_compare": True, "tests": tests})
    )
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def in_cluster(name: str, series: dict[str, str]) -> dict[str, str]:
    """The same series with the label of a cluster."""
    return {each.replace("{", f'{{cluster="{name}",', 1): values for each, values in series.items()}


@pytest.mark.parametrize("case", [pytest.param(case[:5], id=f"{case[1]}: {case[5]}") for case in CASES])
def test_a_panel_shows_what_the_series_tell(promtool: str, tmp_path: Path, case: tuple[Any, ...]) -> None:
    dashboard, title, query, series, expected = case
    elsewhere = in_cluster("west", dict.fromkeys(series, "7x300"))
    plain = asked(dashboard, title, query, series | elsewhere, expected, cluster="")
    chosen = asked(dashboard, title, query, in_cluster("east", series) | elsewhere, expected, cluster="east")
    fulfilled(promtool, tmp_path, plain, chosen)


@pytest.mark.parametrize(
    ("title", "expected"), [case[1:5:3] for case in CASES if case[0] == "job" and case[5] == "has ended"]
)
def test_a_job_that_has_ended_well_is_nowhere_red(title: str, expected: Expected) -> None:
    limits = SHOWN["job", title]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert not expected or "red" not in {limit["color"] for limit in limits}
