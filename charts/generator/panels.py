"""Pieces of Grafana dashboards as plain JSON: panels without a place, and the grid that gives them one."""

from typing import Any

Panel = dict[str, Any]

COLUMNS = 24
"""Of Grafana's grid."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 42
"""The last of this form: Grafana 12.3 and later write it, and change nothing when they load it."""
CLUSTER = 'cluster="$cluster"'
"""Of every selector. Where series have no such label the variable is empty, and this means just those."""
PLAIN = "green"
"""Of figures that are neither good nor bad: without a limit Grafana's own would be red from 80 on."""
PHASES = {
    "Suspended": "text",
    "Pending": "yellow",
    "Queued": "blue",
    "Starting": "light-blue",
    "Training": "green",
    "Restarting": "orange",
    "Evaluating": "purple",
    "Succeeded": "dark-green",
    "Failed": "red",
}


def target(expression: str, legend: str = "") -> Panel:
    """One query of a panel, over the time that is shown."""
    return {"datasource": SOURCE, "expr": expression, "legendFormat": legend or "__auto", "range": True}


def at_the_end(query: Panel, **shape: str) -> Panel:
    """The same for the last moment: over a time, what has ended would be shown, too."""
    return {**query, "range": False, "instant": True, **shape}


def panel(kind: str, title: str, description: str, unit: str, *targets: Panel, **options: Any) -> Panel:
    """A panel of any kind; `options` are those of its kind and, by these names, those of its fields."""
    defaults = {"unit": unit, **limits((None, PLAIN)), **options.pop("defaults", {})}
    named = [{**query, "refId": chr(ord("A") + number)} for number, query in enumerate(targets)]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": options.pop("overrides", [])},
        "transformations": options.pop("transformations", []),
        "targets": named,
        "options": options,
    }


def override(name: str, **properties: Any) -> Panel:
    """What holds of one field; dots in the properties' names are written as two underscores."""
    found = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": found}


def phase_colours() -> list[Panel]:
    """Each phase in its own, where fields have the names of phases."""
    return [override(phase, color={"mode": "fixed", "fixedColor": colour}) for phase, colour in PHASES.items()]


def job_link(namespace: str, name: str) -> Panel:
    """A way to the dashboard of one job; the arguments are Grafana's variables for what was clicked at."""
    chosen = f"${{datasource:queryparam}}&${{cluster:queryparam}}&var-namespace=${{{namespace}}}&var-job=${{{name}}}"
    return {"title": "Open the job", "url": f"/d/arcface-job/arcface-job?{chosen}&${{__url_time_range}}"}


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
        overrides=defaults.pop("overrides", []),
        defaults={"custom": custom, "color": {"mode": "palette-classic"}, **defaults},
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
        overrides=defaults.pop("overrides", []),
        defaults={"noValue": "-", **defaults},
    )


def table(title: str, description: str, unit: str, *targets: Panel, **options: Any) -> Panel:
    """Rows of the last values."""
    return panel("table", title, description, unit, *targets, **options)


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
        "refresh": 2,
        "sort": 1,
        "multi": takes_all,
        **every,
    }


def dashboard(uid: str, title: str, variables: list[Panel], rows: list[Panel], annotations: list[Panel]) -> Panel:
    """A whole dashboard."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    cluster = choice("cluster", "Cluster", "label_values(arcface_operator_is_leader, cluster)")
    others = {"type": "dashboards", "tags": ["arcface"], "title": "ArcFace", "asDropdown": True}
    return {
        "uid": uid,
        "title": title,
        "tags": ["arcface"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, cluster, *variables]},
        "annotations": {"list": annotations},
        "links": [{**others, "keepTime": True, "includeVars": True}],
        "panels": placed(rows),
    }
