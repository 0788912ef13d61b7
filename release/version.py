"""The version: `python release/version.py 0.2.0` writes it wherever it stands, `--check` compares.

It is that of arcface-api, which `arcface --version` tells; the others must bear the same, since wheels, chart and
images of different versions are not tried with each other.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {
    **{
        f"{part}/pyproject.toml": r'^version = "(.+)"$' for part in ("api", "faces", "operator", "trainer", "evaluator")
    },
    "charts/arcface-operator/Chart.yaml": r"^(?:version|appVersion): (.+)$",
    "operator/src/arcface_operator/settings.py": r'"arcface-trainer:([^"]+)"',
    "examples/cluster-quickstart.yaml": r"arcface-trainer:(\S+)",
    "docs/storage.md": r"arcface-trainer:(\S+)",
    "docs/install.md": r"arcface-(?:operator|trainer):(\d[\d.]*\d)",
    "docs/npu.md": r"arcface-trainer:(\d[\d.]*\d)",
    "Dockerfile.operator": r"(?:arcface-operator:|VERSION=)(\d\S*)",
    "Dockerfile.trainer": r"(?:arcface-trainer:|VERSION=)(\d[\d.]*\d)",
}
"""Files with the pattern that finds the version in them."""
CHANGES, UNRELEASED = ROOT / "CHANGELOG.md", "## Not released"


def current() -> str:
    """The version that all must have."""
    return str(tomllib.loads((ROOT / "api" / "pyproject.toml").read_text())["project"]["version"])


def strays(version: str) -> list[str]:
    """Places that name another version, or none."""
    found = []
    for name, pattern in PLACES.items():
        named = re.findall(pattern, (ROOT / name).read_text(), re.MULTILINE)
        found += [f"{name} names {other}" for other in sorted(set(named) - {version})]
        found += [] if named else [f"{name} names no version"]
    headed = re.search(rf"^## {re.escape(version)}$", CHANGES.read_text(), re.MULTILINE)
    return found if headed else [*found, f"{CHANGES.name} has no heading for {version}"]


def refusal(version: str) -> str | None:
    """Why the list of changes does not let the version be written: it would name two states, or one without changes."""
    has_unreleased, is_headed = (f"{line}\n" in CHANGES.read_text() for line in (UNRELEASED, f"## {version}"))
    if has_unreleased and is_headed:
        return f"{CHANGES.name} has changes below `{UNRELEASED}`, and {version} has its own: choose another version"
    if not has_unreleased and not is_headed:
        return f"{CHANGES.name} has no changes for {version}: write them below `{UNRELEASED}`"
    return None


def write(version: str) -> None:
    """Put the version into all places, and over the changes that have no version yet."""
    for name, pattern in PLACES.items():
        text = (ROOT / name).read_text()
        spans = [match.span(1) for match in re.finditer(pattern, text, re.MULTILINE)]
        for start, stop in reversed(spans):
            text = text[:start] + version + text[stop:]
        (ROOT / name).write_text(text)
    CHANGES.write_text(CHANGES.read_text().replace(f"{UNRELEASED}\n", f"## {version}\n", 1))


def main(arguments: list[str]) -> int:
    """Write or check; the exit status."""
    if arguments == ["--check"]:
        found = strays(current())
        if found:
            sys.stderr.write(f"{'; '.join(found)}: run `python release/version.py {current()}`\n")
        return int(bool(found))
    if len(arguments) != 1 or not re.fullmatch(r"\d+\.\d+\.\d+", arguments[0]):
        sys.stderr.write("usage: version.py --check | MAJOR.MINOR.PATCH\n")
        return 2
    if why := refusal(arguments[0]):
        sys.stderr.write(f"{why}\n")
        return 1
    write(arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
