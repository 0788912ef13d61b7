"""Draws a dashboard's panels from Prometheus' data where Grafana would put them: for looking at without Grafana."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from support.shipped import filled_in
from testbed.programs.prometheus import RATE_INTERVAL, Prometheus, Series

COLUMNS, INCHES, ROW_INCHES = 24, 18.0, 0.36
POINTS = 240
FACTORS = {"percentunit": (100.0, " %"), "percent": (1.0, " %"), "s": (1.0, " s")}


def draw(
    dashboard: dict[str, Any], prometheus: Prometheus, start: float, end: float, path: Path, **variables: str
) -> None:
    """Write a PNG of all rows that are not collapsed."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) + 1
    figure = plt.figure(figsize=(INCHES, ROW_INCHES * height), facecolor="#f4f5f5")
    chosen = ", ".join(f"{name} {value}" for name, value in variables.items())
    figure.text(0.01, 1 - 0.7 / height, f"{dashboard['title']}   ({chosen})", fontsize=13, weight="bold")
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if panel["type"] == "row":
            title = f"{'▸' if panel['collapsed'] else '▾'} {panel['title']}"
            figure.text(0.01, 1 - (place["y"] + 1.75) / height, title, fontsize=10, weight="bold")
        else:
            axes = placed(figure, place, height)
            axes.set_title(panel["title"], fontsize=9, loc="left")
            DRAWERS[panel["type"]](axes, panel, Asked(prometheus, start, end, variables))
    figure.savefig(path, dpi=60, pil_kwargs={"optimize": True})
    plt.close(figure)


def placed(figure: Figure, place: dict[str, int], height: int) -> Axes:
    """Axes within a panel's cell."""
    left, width = place["x"] / COLUMNS + 0.03, place["w"] / COLUMNS - 0.04
    bottom = 1 - (place["y"] + 1 + place["h"]) / height + 0.9 / height
    return figure.add_axes((left, bottom, width, (place["h"] - 2.2) / height))


class Asked:
    """Prometheus, the time that is shown, and the variables."""

    def __init__(self, prometheus: Prometheus, start: float, end: float, variables: dict[str, str]) -> None:
        self.prometheus, self.start, self.end, self.variables = prometheus, start, end, variables

    def over_time(self, query: dict[str, Any]) -> list[Series]:
        """Values over the time that is shown."""
        filled = filled_in(query["expr"], RATE_INTERVAL, **self.variables)
        return self.prometheus.query_range(filled, self.start, self.end, (self.end - self.start) / POINTS)

    def at_the_end(self, query: dict[str, Any]) -> list[Series]:
        """The last values."""
        return self.prometheus.query(filled_in(query["expr"], RATE_INTERVAL, **self.variables))


def named(query: dict[str, Any], series: Series) -> str:
    """The legend of a series."""
    text = query["legendFormat"]
    if text == "__auto":
        return ", ".join(value for name, value in sorted(series["metric"].items()) if name != "__name__")
    for label, value in series["metric"].items():
        text = text.replace("{{" + label + "}}", value)
    return text


def shown(value: float, unit: str) -> str:
    """A number with its unit."""
    factor, suffix = FACTORS.get(unit, (1.0, ""))
    return f"{factor * value:.4g}{suffix}"


def draw_curves(axes: Axes, panel: dict[str, Any], asked: Asked) -> None:
    """Lines and their last values."""
    defaults = panel["fieldConfig"]["defaults"]
    factor, suffix = FACTORS.get(defaults["unit"], (1.0, ""))
    for query in panel["targets"]:
        for series in asked.over_time(query):
            moments = [datetime.fromtimestamp(moment, UTC) for moment, _ in series["values"]]
            values = [factor * float(value) for _, value in series["values"]]
            last = shown(float(series["values"][-1][1]), defaults["unit"])
            axes.plot(moments, values, linewidth=1, label=f"{named(query, series)}: {last}")
    if "scaleDistribution" in defaults["custom"]:
        axes.set_yscale("log")
    if "min" in defaults:
        axes.set_ylim(bottom=factor * defaults["min"])
    axes.tick_params(labelsize=7)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}{suffix}")
    axes.grid(visible=True, linewidth=0.3)
    axes.set_xlim(datetime.fromtimestamp(asked.start, UTC), datetime.fromtimestamp(asked.end, UTC))
    axes.xaxis.set_major_locator(plt.MaxNLocator(4))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))
    axes.legend(fontsize=7, loc="best", framealpha=0.7)


def draw_number(axes: Axes, panel: dict[str, Any], asked: Asked) -> None:
    """The last values, large."""
    (query,) = panel["targets"]
    found = asked.at_the_end(query)
    unit, is_name = panel["fieldConfig"]["defaults"]["unit"], panel["options"]["textMode"] == "name"
    words = [
        named(query, series)
        if is_name
        else (f"{named(query, series)}  " if len(found) > 1 else "") + shown(float(series["value"][1]), unit)
        for series in found
    ]
    axes.axis("off")
    size = 20 if len(words) < 2 else 11
    axes.text(
        0.5,
        0.5,
        "\n".join(words) or panel["fieldConfig"]["defaults"]["noValue"],
        ha="center",
        va="center",
        fontsize=size,
        color="#1f60c4",
    )


def draw_table(axes: Axes, panel: dict[str, Any], asked: Asked) -> None:
    """Rows of the last values, as the panel's transformations join them."""
    transformations = {each["id"]: each["options"] for each in panel["transformations"]}
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for query in panel["targets"]:
        for series in asked.at_the_end(query):
            labels = dict(series["metric"])
            row = rows.setdefault((labels["namespace"], labels["name"]), {})
            column = f"Value #{query['refId']}"
            if "joinByLabels" in transformations:
                column = labels.pop(transformations["joinByLabels"]["value"])
            row |= labels | {column: series["value"][1]}
    axes.axis("off")
    if rows:
        names = columns(transformations.get("organize"), {name for row in rows.values() for name in row})
        cells = [[cell(panel, names[name], row.get(name, "")) for name in names] for row in rows.values()]
        height = min(1.0, 0.15 * (1 + len(rows)))
        axes.table(cellText=cells, colLabels=[*names.values()], bbox=(0, 1 - height, 1, height))


def columns(shape: dict[str, Any] | None, found: set[str]) -> dict[str, str]:
    """Headings of a table's columns in their order, by the names of the fields."""
    shape = shape or {"excludeByName": {}, "renameByName": {}, "indexByName": {"namespace": 0, "name": 1}}
    kept = sorted(found - set(shape["excludeByName"]), key=lambda name: (shape["indexByName"].get(name, 9), name))
    return {name: shape["renameByName"].get(name, name) for name in kept}


def cell(panel: dict[str, Any], name: str, text: str) -> str:
    """What stands in a cell: numbers with the unit of their column."""
    settings = panel["fieldConfig"]
    own = [each for each in settings["overrides"] if each["matcher"]["options"] == name]
    units = [found["value"] for each in own for found in each["properties"] if found["id"] == "unit"]
    try:
        return shown(float(text), (units or [settings["defaults"]["unit"]])[0])
    except ValueError:
        return text


DRAWERS = {"timeseries": draw_curves, "stat": draw_number, "table": draw_table}
