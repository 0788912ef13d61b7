"""What an audit complains of; pip-audit's own report is given in the form that its documentation shows."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AUDIT = runpy.run_path(str(ROOT / "release" / "audit.py"))


def test_weaknesses_and_what_was_not_looked_at_are_told() -> None:
    report = {
        "dependencies": [
            {"name": "sound", "version": "1", "vulns": []},
            {"name": "unseen", "skip_reason": "Dependency not found on PyPI and could not be audited: unseen (1.0)"},
            {"name": "flask", "version": "0.5", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.0"], "aliases": []}]},
            {"name": "old", "version": "2", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]},
        ]
    }
    assert AUDIT["complaints"](report) == [
        "unseen: could not be asked about",
        "flask 0.5: PYSEC-1, fixed in 1.0",
        "old 2: PYSEC-2, fixed in nothing yet",
    ]


def test_an_accepted_weakness_goes_by_any_of_its_names() -> None:
    weakness = {"id": "GHSA-x", "fix_versions": ["4.12.0"], "aliases": ["CVE-2025-53644"]}
    assert AUDIT["complaints"]({"dependencies": [{"name": "opencv", "version": "4.11", "vulns": [weakness]}]}) == []


def test_what_is_accepted_is_listed_for_users() -> None:
    assert set(re.findall(r"CVE-\d+-\d+", (ROOT / "SECURITY.md").read_text())) == set(AUDIT["ACCEPTED"])
