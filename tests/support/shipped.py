"""What the chart ships for Prometheus and Grafana."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "arcface-operator"
RULES = CHART / "alerts" / "arcface.rules.yaml"
SCRAPE = CHART / "files" / "prometheus-scrape.yaml"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "dashboards").glob("*.json"))}


def alerts() -> list[dict[str, Any]]:
    """All alerting rules."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Panels with queries, those in collapsed rows included."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panels(panel)
        else:
            yield panel


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Title of the panel and expression of each query."""
    for panel in panels(dashboard):
        for query in panel["targets"]:
            yield panel["title"], query["expr"]


def filled_in(expression: str, interval: str, **variables: str) -> str:
    """An expression as Grafana sends it; where series have no label `cluster` its variable is empty."""
    for name, value in {"__rate_interval": interval, "__range": "1h", "cluster": "", **variables}.items():
        expression = re.sub(rf"\${name}\b", value, expression)
    return expression
