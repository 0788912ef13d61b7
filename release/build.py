"""Builds what a release consists of, from the newest commit: `python release/build.py [--images BASE@sha256:...]`.

Wheels and chart come into dist/ with their SHA-256, the same bytes from every clone of a commit: files are taken from
git, times are the commit's. With --images also both images for this machine's CPUs, as OCI archives and by docker
buildx, on a base that is named by its digest, and what they hold (sbom.py).
"""

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
DISTRIBUTIONS = ("api", "faces", "operator", "trainer", "evaluator")
CHART, UNRELEASED = "arcface-operator", "## Not released"


def git(*arguments: str) -> str:
    """Standard output of git."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def checkout(commit: str, folder: Path) -> None:
    """The files of a commit, whatever lies in the working tree."""
    tree = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tree)) as archive:
        archive.extractall(folder, filter="data")


def build_wheels(tree: Path, environment: Mapping[str, str]) -> None:
    """A wheel of each distribution."""
    for name in DISTRIBUTIONS:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(DIST)]
        subprocess.run(command, cwd=tree / name, env=environment, check=True, capture_output=True)


def build_chart(tree: Path, version: str, epoch: int) -> None:
    """The chart as `helm package` lays it out, which stamps the present time on every file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(path for path in (tree / "charts" / CHART).rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"{CHART}/{path.relative_to(tree / 'charts' / CHART)}")
            entry.size, entry.mtime, entry.mode = path.stat().st_size, epoch, 0o644
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    (DIST / f"{CHART}-{version}.tgz").write_bytes(gzip.compress(packed.getvalue(), mtime=epoch))


def build_images(tree: Path, version: str, commit: str, epoch: int, base: str) -> None:
    """Both images, and what they hold."""
    arguments = {"BASE": base, "VERSION": version, "REVISION": commit, "SOURCE_DATE_EPOCH": str(epoch)}
    chosen = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    for part in ("operator", "trainer"):
        name = f"arcface-{part}:{version}"
        command = [
            "docker",
            "buildx",
            "build",
            f"--file=Dockerfile.{part}",
            f"--tag={name}",
            "--provenance=false",
            *chosen,
        ]
        archive = DIST / f"arcface-{part}-{version}.oci.tar"
        subprocess.run(
            [*command, f"--output=type=oci,dest={archive},rewrite-timestamp=true", "."], cwd=tree, check=True
        )
        subprocess.run([*command, "--load", "."], cwd=tree, check=True)
        inside = ["docker", "run", "--rm", "--interactive", "--entrypoint=python3", name, "-"]
        script = (tree / "release" / "sbom.py").read_bytes()
        held = subprocess.run(inside, input=script, check=True, capture_output=True).stdout
        (DIST / f"arcface-{part}-{version}.cdx.json").write_bytes(held)


def main() -> None:
    """Build, and write SHA256SUMS last."""
    parser = argparse.ArgumentParser(description="Build wheels, chart and, with a base, images of the newest commit.")
    parser.add_argument("--images", metavar="BASE@sha256:...", help="Python's image, by its digest, to build both on.")
    base = parser.parse_args().images
    if base is not None and not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", base):
        parser.error(f"--images {base}: name the base by its digest, NAME@sha256:... with 64 hexadecimal digits")
    if base is not None and shutil.which("docker") is None:
        parser.error("docker: is not on the path: install it with buildx, or build without --images")
    if DIST.exists() and any(DIST.iterdir()):
        parser.error(f"{DIST}: is not empty: move what an earlier build left")
    if UNRELEASED in git("show", "HEAD:CHANGELOG.md").splitlines():
        parser.error(
            f"CHANGELOG.md: has changes below `{UNRELEASED}`: `python release/version.py VERSION`, and commit it"
        )
    DIST.mkdir(exist_ok=True)
    commit, epoch = git("rev-parse", "HEAD"), int(git("log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        checkout(commit, tree)
        build_wheels(tree, {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})
        version = next(DIST.glob("arcface_api-*.whl")).name.split("-")[1]
        build_chart(tree, version, epoch)
        if base is not None:
            build_images(tree, version, commit, epoch, base)
    files = sorted(DIST.iterdir())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (DIST / "SHA256SUMS").write_text("".join(sums))
    sys.stdout.write("".join(sums))


if __name__ == "__main__":
    main()
