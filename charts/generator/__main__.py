"""Writes what the chart holds of other places: `python charts/generator`; with `--check` says what is out of date.

Dashboards are built by the modules beside this one, the README from values.yaml and the operator's settings; the
resource and the rights are copies, since a chart cannot hold links to files outside of it.
"""

import json
import sys
from pathlib import Path

import fleet
import job
from values_table import readme

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "arcface-operator"


def contents() -> dict[Path, str]:
    """Texts of all generated files."""
    return {
        CHART / "dashboards" / "job.json": json.dumps(job.build(), indent=1) + "\n",
        CHART / "dashboards" / "fleet.json": json.dumps(fleet.build(), indent=1) + "\n",
        CHART / "files" / "crd.yaml": (ROOT / "crds" / "arcface.io_arcfacetrainingjobs.yaml").read_text(),
        CHART / "files" / "rbac.yaml": (
            ROOT / "operator" / "src" / "arcface_operator" / "kubernetes" / "rbac.yaml"
        ).read_text(),
        CHART / "LICENSE": (ROOT / "LICENSE").read_text(),
        CHART / "README.md": readme(CHART / "values.yaml", CHART / "values.schema.json"),
    }


def main(arguments: list[str]) -> int:
    """Write or check the files; the exit status."""
    stale = []
    for path, text in contents().items():
        if arguments != ["--check"]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        print(f"{', '.join(stale)}: not as their sources say: run `make chart`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
