"""The dashboards as files; `test_panels.py` beside this and a Prometheus in a cluster tell what they show."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import generate_latest

from arcface_trainer.metrics import TrainMetrics
from support.fakes.served_ranks import show
from support.shipped import DASHBOARDS, expressions, panels

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {"none", "s", "percent", "percentunit"}
OF_THE_DATA_SOURCE = {"step", "titleFormat"}
"""Fields of annotations that Grafana's Prometheus data source reads, and the dashboard's own types do not know."""


def test_they_are_as_the_generator_writes_them() -> None:
    subprocess.run([sys.executable, ROOT / "charts" / "generator", "--check"], check=True)


def unknown(written: Any, read: Any) -> Iterator[str]:
    """Fields of one document that another lacks or has otherwise."""
    if isinstance(written, dict) and isinstance(read, dict):
        for name, value in written.items():
            yield from unknown(value, read[name]) if name in read else [name]
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for mine, other in zip(written, read, strict=True):
            yield from unknown(mine, other)
    elif written != read:
        yield f"{written} as {read}"


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_grafanas_own_types_know_every_field(dashboard: dict[str, Any]) -> None:
    plugins.register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=encoder.JSONEncoder))
    assert set(unknown(dashboard, read)) <= OF_THE_DATA_SOURCE
    assert dashboard["schemaVersion"] == 42  # the last: https://github.com/grafana/grafana, DashboardMigrator.ts


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
def test_every_panel_has_a_unit_limits_and_the_chosen_data_source(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in KNOWN
        assert defaults["thresholds"]["steps"]  # those that Grafana would take are red from 80 on
        assert {query["datasource"]["uid"] for query in panel["targets"]} == {"${datasource}"}


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_only_variables_that_are_there_are_used(dashboard: dict[str, Any]) -> None:
    offered = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval", "__range"}
    used = {name for _, query in expressions(dashboard) for name in re.findall(r"\$(?!1)(\w+)", query)}
    assert used <= offered


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_every_selector_is_of_the_chosen_cluster(dashboard: dict[str, Any]) -> None:
    asked = [query for _, query in expressions(dashboard)] + [each["expr"] for each in dashboard["annotations"]["list"]]
    for query in asked:
        assert query.count("{") == query.count('cluster="$cluster"') > 0, query


def links() -> list[tuple[str, str]]:
    """Addresses below the figures of the fleet, and the queries whose labels they name."""
    found = []
    for panel in panels(DASHBOARDS["fleet"]):
        settings = panel["fieldConfig"]
        own = [link for each in settings["overrides"] for link in named(each).get("links", [])]
        found += [(link["url"], panel["targets"][0]["expr"]) for link in settings["defaults"].get("links", []) + own]
    return found


def named(override: dict[str, Any]) -> dict[str, Any]:
    return {each["id"]: each["value"] for each in override["properties"]}


def test_a_job_of_the_fleet_leads_to_its_own_dashboard() -> None:
    job = DASHBOARDS["job"]
    offered = {variable["name"] for variable in job["templating"]["list"]}
    assert len(links()) == 4
    for url, query in links():
        assert url.partition("?")[0].split("/")[2] == job["uid"]
        given = set(re.findall(r"var-(\w+)=", url)) | set(re.findall(r"\$\{(\w+):queryparam\}", url))
        assert given == offered
        told = set(re.findall(r"\$\{__(?:data\.fields|field\.labels)\.(\w+)\}", url))
        assert told == {"namespace", "name"}
        assert re.search(r"by \(namespace, name(, \w+)?\)", query)


def test_what_ranks_serve_is_clean_by_promtools_measure(promtool: str) -> None:
    metrics = TrainMetrics(0)
    show(metrics, step=1, rank=0)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(metrics.registry), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
