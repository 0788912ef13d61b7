"""Known weaknesses of the locked packages, by pip-audit: `make audit`.

pip-audit leaves out what it cannot fetch and calls that no fault. Here it is one: what nobody looked at is not sound.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("build.txt", "operator.txt", "trainer.txt")
PIP_AUDIT = "pip-audit==2.10.1"
ACCEPTED = {"CVE-2025-53644": "only JPEG and PNG reach the decoder (arcface_faces.images)"}
"""Weaknesses that stay, each with what keeps it away; SECURITY.md lists them."""


def audited(lock: Path) -> dict[str, Any]:
    """What pip-audit says of a lock file; SystemExit with its words where it says nothing."""
    options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
    command = [Path(sys.executable).with_name("uv"), "tool", "run", PIP_AUDIT, *options, f"--requirement={lock}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        sys.exit(f"{lock}: not audited: {' '.join(ended.stderr.split())[-400:]}")
    return found


def complaints(report: dict[str, Any]) -> list[str]:
    """A line for each weakness that is not accepted and each package that was not looked at."""
    lines = []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            lines.append(f"{package['name']}: could not be asked about")
        for weakness in package.get("vulns", []):
            if not {weakness["id"], *weakness.get("aliases", [])} & set(ACCEPTED):
                fixed = ", ".join(weakness["fix_versions"]) or "nothing yet"
                lines.append(f"{package['name']} {package['version']}: {weakness['id']}, fixed in {fixed}")
    return lines


def main() -> int:
    """Print the lines of all lock files; the exit status."""
    found = {line: None for name in LOCKS for line in complaints(audited(ROOT / "requirements" / name))}
    sys.stdout.write("".join(f"{line}\n" for line in found) or "no known weakness but those that SECURITY.md lists\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
