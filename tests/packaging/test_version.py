"""One version everywhere, and the license in all that is shipped."""

import re
import runpy
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = runpy.run_path(str(ROOT / "release" / "version.py"))
PREVIOUS = ROOT / "tests" / "cluster" / "upgrade" / "previous"
DISTRIBUTIONS = ("api", "faces", "operator", "trainer", "evaluator")


def test_all_places_name_the_version() -> None:
    assert VERSION["strays"](VERSION["current"]()) == []


def test_a_place_that_was_forgotten_is_told() -> None:
    *places, changes = VERSION["strays"]("9.9.9")
    assert set(VERSION["PLACES"]) == {line.partition(" names")[0] for line in places}
    assert changes == "CHANGELOG.md has no heading for 9.9.9"


@pytest.fixture
def script(tmp_path: Path) -> list[Path | str]:
    """The command in a copy of all that names the version, with changes that are not released."""
    for name in (*VERSION["PLACES"], "release/version.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## Not released\n\n- Faster.\n\n## 0.0.1\n\nThe first.\n")
    return [sys.executable, tmp_path / "release" / "version.py"]


def test_a_new_version_is_written_to_all_places(script: list[Path | str], tmp_path: Path) -> None:
    subprocess.run([*script, "10.20.30"], check=True)
    subprocess.run([*script, "--check"], check=True)
    changes = (tmp_path / "CHANGELOG.md").read_text()
    assert changes == "# Changes\n\n## 10.20.30\n\n- Faster.\n\n## 0.0.1\n\nThe first.\n"
    old = re.escape(VERSION["current"]())
    left = {name for name in VERSION["PLACES"] if re.search(rf"arcface\S*{old}", (tmp_path / name).read_text())}
    assert left == set()
    assert subprocess.run([*script, "soon"], check=False, capture_output=True).returncode == 2


def test_upgrades_are_tried_from_the_version_before_the_one_in_the_making() -> None:
    """Before the topmost of the list of changes, that is, which has no number until it is released."""
    _, before, *_ = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    wheels = {wheel.name for wheel in PREVIOUS.glob("*.whl")}
    assert wheels == {f"arcface_{part}-{before}-py3-none-any.whl" for part in DISTRIBUTIONS}
    with tarfile.open(PREVIOUS / "chart.tgz") as chart:
        (text,) = (chart.extractfile(name) for name in chart.getnames() if name == "arcface-operator/Chart.yaml")
        assert set(re.findall(r"^(?:version|appVersion): (.+)$", text.read().decode(), re.MULTILINE)) == {before}
    assert re.fullmatch("[0-9a-f]{40}\n", (PREVIOUS / "commit").read_text())


def test_a_version_is_that_of_one_state_alone(script: list[Path | str], tmp_path: Path) -> None:
    def refused(version: str) -> str:
        before = {name: (tmp_path / name).read_text() for name in (*VERSION["PLACES"], "CHANGELOG.md")}
        ended = subprocess.run([*script, version], check=False, capture_output=True, text=True)
        assert (ended.returncode, {name: (tmp_path / name).read_text() for name in before}) == (1, before)
        return ended.stderr

    unreleased = "changes below `## Not released`, and 0.0.1 has its own: choose another version"
    assert refused("0.0.1") == f"CHANGELOG.md has {unreleased}\n"
    subprocess.run([*script, "0.0.2"], check=True)
    subprocess.run([*script, "0.0.2"], check=True)  # which mends a place that has come since
    assert refused("0.0.3") == ("CHANGELOG.md has no changes for 0.0.3: write them below `## Not released`\n")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_wheel_holds_the_license(distribution: str, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path]
    subprocess.run(build, cwd=ROOT / distribution, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


def test_the_license_names_its_owner_and_is_in_the_chart() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "[yyyy]" not in text
    assert (ROOT / "charts" / "arcface-operator" / "LICENSE").read_text() == text
