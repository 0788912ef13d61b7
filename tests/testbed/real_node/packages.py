"""Debian's packages: containerd, runc, CNI plugins and a static busybox for the real node, and what builds images."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from testbed.programs.commands import TestbedError

CNI_PLUGINS = Path("/usr/lib/cni")
NO_SERVICES = Path("/usr/sbin/policy-rc.d")
NODE = {
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
    "/usr/sbin/ip": "iproute2",
    "/usr/sbin/iptables": "iptables",
    "/usr/bin/busybox": "busybox-static",
}
"""Packages of the real node, by a file of each."""
IMAGES = {"/usr/bin/buildah": "buildah", "/usr/sbin/debootstrap": "debootstrap"}
"""Packages of the image builder."""


def ensure_installed(providers: Mapping[str, str]) -> None:
    """Install what is missing, without starting any service; TestbedError says what apt-get answered."""
    missing = sorted(package for file, package in providers.items() if not Path(file).exists())
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise TestbedError(f"{', '.join(missing)} must be installed: only root on a Debian-like machine can do it here")
    had_policy = NO_SERVICES.exists()
    if not had_policy:
        NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
        NO_SERVICES.chmod(0o755)
    try:
        apt_get("update", "--quiet")
        apt_get("install", "--yes", "--quiet", "--no-install-recommends", *missing)
    finally:
        if not had_policy:
            NO_SERVICES.unlink()


def apt_get(*arguments: str) -> None:
    """Run apt-get without questions."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last_line = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise TestbedError(f"apt-get {' '.join(arguments)}: exit {done.returncode}: {last_line}")
