"""Every alert fires on series that it is for, and keeps silent on those that it is not for."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.alert_cases import CASES, waits
from support.shipped import CHART, RULES, alerts

LONG_MINUTES = 200
"""From here on rules are evaluated each ten minutes, which takes promtool a tenth of the time."""


def expectation(
    alert: str, series: dict[str, str], minute: int, labels: dict[str, str] | None, cluster: str = ""
) -> dict[str, Any]:
    """A test as promtool reads it; with a cluster all series carry its label, as behind a federation."""
    severity = next(rule["labels"]["severity"] for rule in alerts() if rule["alert"] == alert)
    told = {"__name__": "ALERTS", "alertname": alert, "alertstate": "firing", "severity": severity, **(labels or {})}
    told |= {"cluster": cluster} if cluster else {}
    added = f'cluster="{cluster}",' if cluster else ""
    written = "{" + ",".join(f'{name}="{value}"' for name, value in told.items()) + "}"
    return {
        "interval": "1m",
        "name": f"{alert} in {cluster or 'one cluster'} at {minute}",
        "input_series": [
            {"series": name.replace("{", "{" + added, 1), "values": values} for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
                "eval_time": f"{minute}m",
                "exp_samples": [] if labels is None else [{"labels": written, "value": 1}],
            }
        ],
    }


def fulfilled(promtool: str, folder: Path, *tests: dict[str, Any], interval: str = "1m") -> None:
    """Let promtool run tests of the shipped rules."""
    file = folder / "test.yaml"
    content = {"rule_files": [str(RULES)], "evaluation_interval": interval, "tests": [*tests]}
    file.write_text(yaml.safe_dump(content))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("alert", "series", "minute", "labels"),
    [pytest.param(*case[:4], id=f"{case[0]}: {case[4]}") for case in CASES],
)
def test_an_alert_fires_on_what_it_is_for(
    promtool: str, tmp_path: Path, alert: str, series: dict[str, str], minute: int, labels: dict[str, str] | None
) -> None:
    interval = "10m" if minute > LONG_MINUTES else "1m"
    fulfilled(promtool, tmp_path, expectation(alert, series, minute, labels), interval=interval)


@pytest.mark.parametrize(("phase", "reason"), [("Restarting", "Restarting"), ("Pending", "Creating")])
def test_a_minute_after_an_hour_in_a_queue_is_no_alert(promtool: str, tmp_path: Path, phase: str, reason: str) -> None:
    series = waits("Queued", "Queued", "0x260 stale") | waits(phase, reason, "_x261 0x3 stale")
    test = expectation("ArcFaceJobPending", series, 75, None) | {"interval": "15s"}
    (look,) = test["promql_expr_test"]
    look["expr"] = f"last_over_time({look['expr']}[12m])"
    fulfilled(promtool, tmp_path, test, interval="15s")


def test_series_of_a_cluster_give_alerts_of_that_cluster(promtool: str, tmp_path: Path) -> None:
    fire = {
        case[0]: case for case in CASES if case[3] is not None and case[2] <= LONG_MINUTES and "up{}" not in case[1]
    }
    fulfilled(promtool, tmp_path, *(expectation(*case[:4], cluster="east") for case in fire.values()))


def test_every_alert_is_tried_both_ways() -> None:
    for rule in alerts():
        assert {case[3] is None for case in CASES if case[0] == rule["alert"]} == {True, False}, rule["alert"]


def test_the_rules_are_sound(promtool: str) -> None:
    subprocess.run([promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES)], check=True)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert all(rule["annotations"][name].strip() for name in ("summary", "description"))
    assert rule["annotations"].keys() <= {"summary", "description", "runbook_url"}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_leads_to_a_page_that_is_there(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^### (\w+)$", (CHART.parents[1] / page).read_text(), re.MULTILINE)
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()
