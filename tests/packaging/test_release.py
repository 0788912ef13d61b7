"""A release from a commit: the same bytes from two clones, a chart that Helm takes, a list of what an image holds."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from testbed.programs.binaries import binary
from testbed.programs.commands import run
from testbed.programs.helm import IMAGES

ROOT = Path(__file__).resolve().parents[2]


VERSION = "10.20.30"
OF_NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com")


@pytest.fixture(scope="module")
def unreleased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose newest commit has changes without a version."""
    clone = clone_of(ROOT, tmp_path_factory.mktemp("clone"))
    changes = clone / "CHANGELOG.md"
    if "\n## Not released\n" not in changes.read_text():
        changes.write_text(changes.read_text().replace("\n## ", "\n## Not released\n\n- A change.\n\n## ", 1))
        run(["git", "-C", str(clone), *OF_NOBODY, "commit", "--quiet", "--all", "--message=Change"])
    return clone


@pytest.fixture(scope="module")
def releases(unreleased: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """dist/ of two clones; the second has a file that is not committed, and its files are of another time."""
    first = clone_of(unreleased, tmp_path_factory.mktemp("first"))
    run([sys.executable, str(first / "release" / "version.py"), VERSION])
    run(["git", "-C", str(first), *OF_NOBODY, "commit", "--quiet", "--all", f"--message={VERSION}"])
    second = clone_of(first, tmp_path_factory.mktemp("second"))
    (second / "api" / "src" / "arcface_api" / "not_committed.py").write_text("")
    for clone, umask in ((first, 0o022), (second, 0o077)):
        build = [sys.executable, clone / "release" / "build.py"]
        subprocess.run(build, check=True, capture_output=True, umask=umask)
    return [first / "dist", second / "dist"]


def clone_of(repository: Path, folder: Path) -> Path:
    """A clone in an empty folder."""
    clone = folder / "repository"
    run(["git", "clone", "--quiet", "--shared", str(repository), str(clone)])
    return clone


def test_changes_without_a_version_are_no_release(unreleased: Path) -> None:
    """Its version would be that of the release before, whose images nodes have by the same tag."""
    build = [sys.executable, unreleased / "release" / "build.py"]
    ended = subprocess.run(build, capture_output=True, text=True, check=False)
    assert (ended.returncode, "CHANGELOG.md: has changes below `## Not released`" in ended.stderr) == (2, True)
    assert not (unreleased / "dist").exists()


def test_two_clones_give_the_same_bytes(releases: list[Path]) -> None:
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in releases)
    assert len(first) == 5 + 1 + 1
    assert first == second


def test_the_sums_are_those_of_the_files(releases: list[Path]) -> None:
    lines = dict(reversed(line.split("  ")) for line in (releases[0] / "SHA256SUMS").read_text().splitlines())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in releases[0].iterdir()}
    assert lines == {name: value for name, value in found.items() if name != "SHA256SUMS"}


def test_helm_takes_the_package(releases: list[Path]) -> None:
    (package,) = releases[0].glob("*.tgz")
    assert package.name == f"arcface-operator-{VERSION}.tgz"
    chosen = [f"--set={value}" for value in IMAGES]
    from_package, from_folder = (
        run([str(binary("helm")), "template", "x", str(chart), *chosen])
        for chart in (package, releases[0].parent / "charts" / "arcface-operator")
    )
    assert "kind: Deployment" in from_package
    assert from_package == from_folder


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("python:3.11", "--images python:3.11: name the base by its digest"),
        ("python@sha256:abc", "--images python@sha256:abc: name the base by its digest"),
        ("python@sha256:" + "a" * 64, "docker: is not on the path"),
    ],
)
def test_images_that_cannot_be_built_are_refused_before_all_else(base: str, message: str) -> None:
    command = [sys.executable, ROOT / "release" / "build.py", "--images", base]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": ""})
    assert (ended.returncode, message in ended.stderr.splitlines()[-1]) == (2, True), ended.stderr


def test_what_a_place_holds_is_listed() -> None:
    script = (ROOT / "release" / "sbom.py").read_text()
    ended = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=True)
    listed = json.loads(ended.stdout)
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    named = {each["name"]: each for each in listed["components"]}
    assert {each.name.lower().replace("_", "-") for each in distributions() if each.name.startswith("arcface")} <= set(
        named
    )
    assert named["arcface-api"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    assert named["click"]["purl"].startswith("pkg:pypi/click@8.")


def test_packages_are_named_with_their_distribution() -> None:
    """As https://github.com/package-url/purl-spec has it: distribution as namespace, what URLs cannot hold encoded."""
    script = ROOT / "release" / "sbom.py"
    code = f"""
import platform, runpy
platform.freedesktop_os_release = lambda: {{"ID": "ubuntu", "VERSION_ID": "22.04"}}
print(runpy.run_path({str(script)!r})["debian_purl"]("libstdc++6", "1:12.3.0-1ubuntu1~22.04+b1", "arm64"))
"""
    told = run([sys.executable, "-c", code]).strip()
    assert told == "pkg:deb/ubuntu/libstdc%2B%2B6@1:12.3.0-1ubuntu1~22.04%2Bb1?arch=arm64&distro=ubuntu-22.04"
