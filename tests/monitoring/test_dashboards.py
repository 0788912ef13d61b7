"""The dashboards as files; `tests/cluster/operator/test_prometheus.py` asks a Prometheus for what they show."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from arcface_trainer.metrics import TrainMetrics
from support.fakes.served_ranks import show
from support.shipped import DASHBOARDS, expressions, panels

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {"none", "s", "percent", "percentunit"}


def test_they_are_as_the_generator_writes_them() -> None:
    subprocess.run([sys.executable, ROOT / "charts" / "generator", "--check"], check=True)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_are_told_apart_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    shown = [*panels(dashboard)]
    ids = [panel["id"] for panel in shown] + [row["id"] for row in dashboard["panels"] if row["type"] == "row"]
    assert len(set(ids)) == len(ids)
    assert len({panel["title"] for panel in shown}) == len(shown)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + line) for column in range(place["w"]) for line in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_every_panel_has_a_unit_and_the_chosen_data_source(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["fieldConfig"]["defaults"]["unit"] in KNOWN
        assert {query["datasource"]["uid"] for query in panel["targets"]} == {"${datasource}"}


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_only_variables_that_are_there_are_used(dashboard: dict[str, Any]) -> None:
    offered = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval", "__range"}
    used = {name for _, query in expressions(dashboard) for name in re.findall(r"\$(?!1)(\w+)", query)}
    assert used <= offered


def test_what_ranks_serve_is_clean_by_promtools_measure(promtool: str) -> None:
    metrics = TrainMetrics(0)
    show(metrics, step=1, rank=0)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(metrics.registry), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
