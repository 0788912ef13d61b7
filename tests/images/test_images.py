"""What is in the images: they are built from their Dockerfiles, on a stand-in for the base image."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from testbed.images.builder import REPOSITORY, ImageBuilder

LISTED = (
    "import json, sys; from importlib.metadata import distributions; "
    "print(json.dumps([d.metadata['Name'] for d in distributions(path=[p for p in sys.path if '/opt/arcface' in p])]))"
)
OPERATOR = (
    "Dockerfile.operator",
    "localhost/arcface-operator:test",
    "operator.txt",
    ["api", "operator"],
    "65532:65532",
)
TRAINER = (
    "Dockerfile.trainer",
    "localhost/arcface-trainer:check",
    "trainer.txt",
    ["api", "faces", "trainer", "evaluator"],
    "1000:1000",
)
ASKS_FOR_ALL = os.environ.get("ARCFACE_IMAGES") == "all"
SKIPPED = pytest.mark.skipif(not ASKS_FOR_ALL, reason="downloads half a gigabyte: `make check-images`")


@pytest.fixture(
    scope="module", params=[pytest.param(OPERATOR, id="operator"), pytest.param(TRAINER, id="trainer", marks=SKIPPED)]
)
def built(request: pytest.FixtureRequest, builder: ImageBuilder) -> Iterator[tuple[ImageBuilder, str, tuple]]:
    dockerfile, image, *facts = request.param
    builder.build(dockerfile, image)
    with builder.container(image) as container:
        yield builder, container, tuple(facts)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file: str) -> set[str]:
    """Names of the packages that a lock file has for this platform."""
    lines = (REPOSITORY / "requirements" / file).read_text().replace("\\\n", " ").splitlines()
    wanted = [Requirement(line.partition(" --hash")[0]) for line in lines if re.match(r"[a-z]", line)]
    return {canonical(each.name) for each in wanted if each.marker is None or each.marker.evaluate()}


def commands_of(part: str) -> list[str]:
    """Names of the commands that a distribution says it has."""
    project = tomllib.loads((REPOSITORY / part / "pyproject.toml").read_text())["project"]
    return [*project.get("entry-points", {}).get("arcface.commands", {})]


def test_it_holds_exactly_the_locked_distributions_and_ours(built) -> None:
    builder, container, (lock, ours, _) = built
    found = {canonical(name) for name in json.loads(builder.run(container, "python3", "-c", LISTED))}
    assert found == locked(lock) | {f"arcface-{name}" for name in ours}


def test_what_it_holds_is_listed(built) -> None:
    """By release/sbom.py, as `make release` does with docker: locked packages, ours, and those of the base."""
    builder, container, (lock, ours, _) = built
    script = (REPOSITORY / "release" / "sbom.py").read_text()
    listed = json.loads(builder.run(container, "python3", "-c", script))["components"]
    kinds = {
        kind: {each["name"]: each["version"] for each in listed if each["purl"].startswith(f"pkg:{kind}/")}
        for kind in ("pypi", "deb")
    }
    assert set(kinds["pypi"]) >= locked(lock) | {f"arcface-{name}" for name in ours}
    assert "libc6" in kinds["deb"]
    if "trainer" in ours:
        (pinned,) = re.findall(r"^ARG LIBGOMP=(\S+)$", (REPOSITORY / "Dockerfile.trainer").read_text(), re.MULTILINE)
        assert kinds["deb"]["libgomp1"] == pinned


def test_it_runs_as_nobody_special(built) -> None:
    builder, container, (_, _, user) = built
    assert builder.run(container, "sh", "-c", "echo $(id -u):$(id -g)") == user


def test_its_commands_are_those_of_its_distributions(built) -> None:
    builder, container, (_, ours, _) = built
    offered = builder.run(container, "arcface", "--help")
    commands = [name for part in ours for name in commands_of(part)]
    assert re.findall(r"^  (\w+)  ", offered, re.MULTILINE) == sorted(commands)
    for command in commands:
        assert builder.run(container, "arcface", command, "--help").startswith(f"Usage: arcface {command}")
    told = builder.run(container, "arcface", "--version")
    assert told.startswith(f"arcface {version('arcface-api')}, commit unknown, Python 3.11.")


def test_its_libraries_find_what_they_are_linked_with(built) -> None:
    builder, container, (_, ours, _) = built
    modules = ["mindspore", "cv2", "onnxruntime"] if "trainer" in ours else ["kopf", "kubernetes"]
    builder.run(container, "python3", "-c", f"import {', '.join(modules)}")


@pytest.mark.parametrize("file", ["Dockerfile.operator", "Dockerfile.trainer"])
def test_a_dockerfile_copies_only_what_the_builder_is_given(file: str) -> None:
    given = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(\S+)", (REPOSITORY / file).read_text(), re.MULTILINE)
    assert copied
    assert set(copied) <= given


@pytest.mark.parametrize("file", ["Dockerfile.operator", "Dockerfile.trainer"])
def test_a_dockerfile_takes_everything_by_version_and_hash(file: str) -> None:
    text = (REPOSITORY / file).read_text()
    assert re.search(r"^ARG BASE=\S+:3\.11\.\d+-slim-bookworm$", text, re.MULTILINE)
    for command in re.findall(r"pip[^&\n]*install(?:[^&\n]|\\\n)*", text):
        assert "--require-hashes" in command or "--no-deps --no-index" in command
    for command in re.findall(r"apt-get install (?:[^&\n]|\\\n)*", text):
        assert all("=" in word for word in command.split()[2:] if word[0] not in "-\\"), command
    assert re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)[-1] != ("0", "0")


@pytest.mark.parametrize("lock", ["build.txt", "operator.txt", "trainer.txt"])
@pytest.mark.parametrize("platform", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
def test_every_locked_package_has_a_wheel_for_both_architectures(lock: str, platform: str, tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("uv"), "pip", "install", "--dry-run", "--only-binary=:all:", "--quiet"]
    place = [f"--python-platform={platform}", "--python-version=3.11", f"--target={tmp_path}", "--require-hashes"]
    done = subprocess.run(
        [*command, *place, "-r", REPOSITORY / "requirements" / lock], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
