"""Programs that the tests run (Kubernetes, Kueue, Helm, Prometheus, kube-score): found, or built once from Go modules.

`python tests/testbed/programs/binaries.py` builds all of them ahead of the tests (`make testbed`). A program is
looked for in $KUBEBUILDER_ASSETS and in a cache outside the working tree whose name holds the version and a hash of
the Go module; what neither has is built there, by one process at a time.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[1]
GO = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
REMEDY = "install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to a folder that holds the programs"


class MissingBinaryError(RuntimeError):
    """A program is neither installed nor can it be built; the message says how to get it."""


@dataclass(frozen=True)
class Module:
    """A Go module that pins some programs and all that they are built of."""

    folder: Path
    main: str
    """The requirement whose version counts."""
    packages: dict[str, str]
    """Packages by the names of their programs."""
    version_packages: tuple[str, ...] = ()
    """Packages with variables by which the programs report their version."""
    tags: str = ""
    """What is built of them."""
    folders: tuple[str, ...] = ()
    """Folders of the main requirement's sources that its programs are installed by."""

    @property
    def version(self) -> str:
        """Version of the main requirement, with its `v`."""
        text = (self.folder / "go.mod").read_text()
        found = re.search(rf"^(?:require)?\s*{re.escape(self.main)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise MissingBinaryError(f"{self.folder / 'go.mod'} does not require {self.main}")
        return found[1]

    @property
    def cache(self) -> Path:
        """Folder of the programs that were built from this very module."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        sums = (self.folder / "go.mod").read_bytes() + (self.folder / "go.sum").read_bytes()
        return home / "arcface-testbed" / f"{self.version}-{hashlib.sha256(sums).hexdigest()[:12]}"

    @property
    def linker_flags(self) -> str:
        """No debug information, and the version that the programs report about themselves."""
        major, minor, _ = self.version.removeprefix("v").split(".", 2)
        values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        variables = [
            f"-X {package}.{key}={value}" for package in self.version_packages for key, value in values.items()
        ]
        return " ".join(["-s", "-w", *variables])


MODULES = (
    Module(
        HERE,
        "k8s.io/kubernetes",
        {
            "etcd": "go.etcd.io/etcd/server/v3",
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            "kubelet": "k8s.io/kubernetes/cmd/kubelet",
            "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        },
        ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"),
    ),
    Module(
        HERE / "modules" / "kueue",
        "sigs.k8s.io/kueue",
        {"kueue": "sigs.k8s.io/kueue/cmd/kueue"},
        folders=("config",),
    ),
    Module(HERE / "modules" / "helm", "helm.sh/helm/v4", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    Module(
        HERE / "modules" / "kube-score",
        "github.com/zegl/kube-score",
        {"kube-score": "github.com/zegl/kube-score/cmd/kube-score"},
    ),
    Module(
        HERE / "modules" / "prometheus",
        "github.com/prometheus/prometheus",
        {
            "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
            "promtool": "github.com/prometheus/prometheus/cmd/promtool",
        },
        # Of its many ways to find targets, each with libraries of its own, the one that the chart uses.
        tags="remove_all_sd,enable_kubernetes_sd",
    ),
)


def binary(name: str) -> Path:
    """Path of a program; building it the first time takes up to ten minutes."""
    module = next(module for module in MODULES if name in module.packages)
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in (*([Path(assets)] if assets else []), module.cache):
        if os.access(folder / name, os.X_OK):
            return (folder / name).resolve()
    with only_builder(module):
        target = module.cache / name
        if not target.exists():
            build(module, name, target)
        return target


def folder(program: str, name: str) -> Path:
    """A folder of the sources that a program was built from."""
    module = next(module for module in MODULES if program in module.packages)
    target = module.cache / name
    with only_builder(module):
        if not target.exists():
            copy(module, name, target)
    return target


@contextmanager
def only_builder(module: Module) -> Iterator[None]:
    """Wait until no other process builds."""
    module.cache.mkdir(parents=True, exist_ok=True)
    with (module.cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(module: Module, name: str, target: Path) -> None:
    """Build a program; it appears under its name only when it is complete."""
    partial = target.with_name(f".{name}.partial")
    flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", f"-tags={module.tags}", "-ldflags", module.linker_flags]
    run_go(module, name, "build", *flags, "-o", str(partial), module.packages[name])
    partial.replace(target)


def copy(module: Module, name: str, target: Path) -> None:
    """Copy a folder of the main requirement's sources; it appears under its name only when it is complete."""
    sources = json.loads(run_go(module, name, "mod", "download", "-json", module.main))["Dir"]
    partial = target.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(Path(sources) / name, partial, copy_function=shutil.copyfile)
    partial.chmod(0o755)  # Go's cache is read-only
    partial.replace(target)


def run_go(module: Module, name: str, *arguments: str) -> str:
    """What Go answers in a module's folder.

    Raises:
        MissingBinaryError: with its last words.
    """
    if GO is None:
        raise MissingBinaryError(f"{name} is not there and Go is not installed: {REMEDY}")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    command = [GO, *arguments]
    done = subprocess.run(command, cwd=module.folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["go said nothing"]
        raise MissingBinaryError(f"{name} cannot be had ({said[-1]}): {REMEDY}")
    return done.stdout


def main() -> None:
    """Build what is missing and say where everything is."""
    programs = [(program, module.folders) for module in MODULES for program in module.packages]
    for program, folders in programs:
        started = time.monotonic()
        path = binary(program)
        for name in folders:
            folder(program, name)
        sys.stdout.write(f"{path}  ({time.monotonic() - started:.0f} s)\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except MissingBinaryError as error:
        sys.exit(str(error))
