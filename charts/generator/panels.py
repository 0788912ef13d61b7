"""Pieces of Grafana dashboards as plain JSON: panels without a place, and the grid that gives them one."""

from typing import Any

Panel = dict[str, Any]

COLUMNS = 24
"""Of Grafana's grid."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 39
"""Of Grafana 11; later ones convert it when they load it."""


def target(expression: str, legend: str = "") -> Panel:
    """One query of a panel, over the time that is shown."""
    return {"datasource": SOURCE, "expr": expression, "legendFormat": legend or "__auto", "range": True}


def at_the_end(query: Panel, **shape: str) -> Panel:
    """The same for the last moment: over a time, what has ended would be shown, too."""
    return {**query, "range": False, "instant": True, **shape}


def panel(kind: str, title: str, description: str, unit: str, *targets: Panel, **options: Any) -> Panel:
    """A panel of any kind; `options` are those of its kind and, under `defaults`, those of its fields."""
    defaults = {"unit": unit, **options.pop("defaults", {})}
    named = [{**query, "refId": chr(ord("A") + number)} for number, query in enumerate(targets)]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": named,
        "options": options,
    }


def curves(
    title: str, description: str, unit: str, *targets: Panel, is_logarithmic: bool = False, **defaults: Any
) -> Panel:
    """Lines over time; what is told of each is its last value."""
    custom: dict[str, Any] = {"lineWidth": 1, "showPoints": "never", "spanNulls": False}
    if is_logarithmic:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    return panel(
        "timeseries",
        title,
        description,
        unit,
        *targets,
        legend={"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]},
        tooltip={"mode": "multi", "sort": "desc"},
        defaults={"custom": custom, **defaults},
    )


def number(title: str, description: str, unit: str, query: Panel, **defaults: Any) -> Panel:
    """The last value, large."""
    shown = "name" if defaults.pop("shows_name", False) else "auto"
    return panel(
        "stat",
        title,
        description,
        unit,
        at_the_end(query),
        reduceOptions={"calcs": ["lastNotNull"]},
        textMode=shown,
        graphMode="none",
        colorMode="value",
        defaults=defaults,
    )


def table(title: str, description: str, unit: str, query: Panel, *, row: str, column: str) -> Panel:
    """A matrix of the last values by two labels."""
    made = panel("table", title, description, unit, at_the_end(query, format="table"))
    fields = {"columnField": column, "rowField": row, "valueField": "Value"}
    return {**made, "transformations": [{"id": "groupingToMatrix", "options": fields}]}


def limits(*steps: tuple[float | None, str]) -> dict[str, Any]:
    """Colours from each value on; the first one, None, is for everything below."""
    return {"thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}}


def row(title: str, height: int, *panels: Panel, is_collapsed: bool = False) -> Panel:
    """Panels side by side under a title; those of a collapsed row are asked for only when it is opened."""
    return {"title": title, "height": height, "panels": list(panels), "is_collapsed": is_collapsed}


def placed(rows: list[Panel]) -> list[Panel]:
    """All rows and panels with their places and numbers."""
    top, result = 0, []
    for group in rows:
        width = COLUMNS // len(group["panels"])
        header = {
            "type": "row",
            "title": group["title"],
            "collapsed": group["is_collapsed"],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        inside = [
            {**made, "gridPos": {"x": place * width, "y": top + 1, "w": width, "h": group["height"]}}
            for place, made in enumerate(group["panels"])
        ]
        result += [{**header, "panels": inside}] if group["is_collapsed"] else [header, *inside]
        top += 1 + (0 if group["is_collapsed"] else group["height"])
    return numbered(result)


def numbered(panels: list[Panel]) -> list[Panel]:
    """Panels, those within rows included, with ids in their order."""
    count, result = 0, []
    for made in panels:
        count += 1
        own = count
        inner = []
        for nested in made.get("panels", []):
            count += 1
            inner.append({"id": count, **nested})
        result.append({"id": own, **made, **({"panels": inner} if made["type"] == "row" else {})})
    return result


def choice(name: str, label: str, query: str, *, takes_all: bool = False) -> Panel:
    """A variable with the values of a label."""
    every = {"includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}} if takes_all else {}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": takes_all,
        **every,
    }


def dashboard(uid: str, title: str, variables: list[Panel], rows: list[Panel], annotations: list[Panel]) -> Panel:
    """A whole dashboard."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": uid,
        "title": title,
        "tags": ["arcface"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, *variables]},
        "annotations": {"list": annotations},
        "links": [
            {"type": "dashboards", "tags": ["arcface"], "title": "ArcFace", "keepTime": True, "asDropdown": True}
        ],
        "panels": placed(rows),
    }
