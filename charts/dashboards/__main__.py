"""Writes the chart's dashboards: `python charts/dashboards`; with `--check` says what is out of date instead."""

import json
import sys
from pathlib import Path

import fleet
import job

FOLDER = Path(__file__).resolve().parents[1] / "arcface-operator" / "dashboards"
DASHBOARDS = {"job.json": job.build, "fleet.json": fleet.build}


def main(arguments: list[str]) -> int:
    """Write or check all dashboards; the exit status."""
    stale = []
    for name, build in DASHBOARDS.items():
        path, text = FOLDER / name, json.dumps(build(), indent=1) + "\n"
        if arguments == ["--check"] and (not path.exists() or path.read_text() != text):
            stale.append(name)
        elif arguments != ["--check"]:
            path.write_text(text)
    if stale:
        print(f"{FOLDER}: {', '.join(stale)} differ from charts/dashboards: run `make dashboards`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
