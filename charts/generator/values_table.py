"""The chart's README: tables of its values, from the comments of values.yaml, and of the operator's settings."""

import json
from pathlib import Path
from typing import Any

import yaml

from arcface_operator.settings import Settings

HEAD = """<!-- Generated from values.yaml by `make chart`; change that instead. -->
# arcface-operator

Installs the operator for `ArcFaceTrainingJob`s with its resource, rights, dashboards and alerts.

```
helm install arcface-operator charts/arcface-operator --namespace arcface-system --create-namespace \\
  --set image.repository=REGISTRY/arcface-operator --set trainer.repository=REGISTRY/arcface-trainer
```

How to install, upgrade and remove it is described in [docs/install.md](../../docs/install.md), dashboards and alerts in
[docs/monitoring.md](../../docs/monitoring.md).

| value | default | means |
| --- | --- | --- |
"""
SETTINGS_HEAD = """
## Settings

Keys of `settings`, such as `--set settings.logFormat=json`; without Helm, of the file that `arcface operator
--settings` reads. Periods and times are in seconds.

| setting | default | means |
| --- | --- | --- |
"""


def readme(values: Path, schema: Path) -> str:
    """The text; KeyError where a value has no comment, or the schema names a setting that there is not."""
    text = values.read_text()
    meanings = comments(text)
    lines = [
        f"| `{key}` | `{json.dumps(value)}` | {meanings[key]} |"
        for key, value in leaves(yaml.safe_load(text), meanings)
    ]
    return HEAD + "\n".join(lines) + "\n" + SETTINGS_HEAD + "\n".join(settings(schema)) + "\n"


def settings(schema: Path) -> list[str]:
    """Rows of the settings that have no value of their own, as their fields describe them."""
    fields = {field.alias or name: field for name, field in Settings.model_fields.items()}
    named = json.loads(schema.read_text())["properties"]["settings"]["properties"]
    return [f"| `{name}` | `{json.dumps(fields[name].default)}` | {fields[name].description} |" for name in named]


def leaves(values: dict[str, Any], meanings: dict[str, str], prefix: str = "") -> list[tuple[str, Any]]:
    """Values by their paths: what has a comment is one, and what has none is looked into."""
    found = []
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path not in meanings and isinstance(value, dict) and value:
            found += leaves(value, meanings, f"{path}.")
        else:
            found.append((path, value))
    return found


def comments(text: str) -> dict[str, str]:
    """The `# --` comments by the path of the key that follows them."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    pending: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            pending = [stripped[4:].strip()] if stripped.startswith("# -- ") else [*pending, stripped[1:].strip()]
        elif ":" in stripped:
            indent, key = len(line) - len(line.lstrip()), stripped.partition(":")[0]
            above = [(depth, name) for depth, name in above if depth < indent] + [(indent, key)]
            if pending:
                found[".".join(name for _, name in above)] = " ".join(pending)
            pending = []
    return found
