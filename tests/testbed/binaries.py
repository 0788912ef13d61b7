"""The programs of a Kubernetes cluster: found, or built once from the Go module in this folder.

`python tests/testbed/binaries.py` builds all of them ahead of the tests (`make testbed`). A program is looked for in
$KUBEBUILDER_ASSETS and in a cache outside the working tree whose name holds the version and a hash of the Go module;
what neither has is built there, by one process at a time.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODULE = Path(__file__).parent
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
}
GO = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
REMEDY = "install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to a folder that holds the Kubernetes binaries"


class MissingBinaryError(RuntimeError):
    """A program is neither installed nor can it be built; the message says how to get it."""


def binary(name: str) -> Path:
    """Path of a program; building it the first time takes up to ten minutes."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in (*([Path(assets)] if assets else []), cache()):
        if os.access(folder / name, os.X_OK):
            return (folder / name).resolve()
    with only_builder():
        target = cache() / name
        if not target.exists():
            build(name, target)
        return target


def cache() -> Path:
    """Folder of the programs that were built from this very Go module."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256((MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes()).hexdigest()
    return home / "arcface-testbed" / f"{kubernetes_version()}-{digest[:12]}"


def kubernetes_version() -> str:
    """Version that the Go module requires, with its `v`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise MissingBinaryError(f"{MODULE / 'go.mod'} does not require k8s.io/kubernetes")
    return found[1]


@contextmanager
def only_builder() -> Iterator[None]:
    """Wait until no other process builds."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(name: str, target: Path) -> None:
    """Build a program; it appears under its name only when it is complete."""
    if GO is None:
        raise MissingBinaryError(f"{name} is not there and Go is not installed: {REMEDY}")
    partial = target.with_name(f".{name}.partial")
    flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", linker_flags()]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    done = subprocess.run(
        [GO, "build", *flags, "-o", str(partial), PACKAGES[name]],
        cwd=MODULE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["go build said nothing"]
        raise MissingBinaryError(f"{name} cannot be built ({said[-1]}): {REMEDY}")
    partial.replace(target)


def linker_flags() -> str:
    """No debug information, and the version that the programs report about themselves."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    variables = [
        f"-X {package}.{key}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for key, value in values.items()
    ]
    return " ".join(["-s", "-w", *variables])


def main() -> None:
    """Build what is missing and say where everything is."""
    for name in PACKAGES:
        started = time.monotonic()
        path = binary(name)
        sys.stdout.write(f"{path}  ({time.monotonic() - started:.0f} s)\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except MissingBinaryError as error:
        sys.exit(str(error))
