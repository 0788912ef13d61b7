"""Debian's packages of the real node: containerd, runc, CNI plugins and a static busybox."""

import os
import shutil
import subprocess
from pathlib import Path

from testbed.commands import TestbedError

CNI_PLUGINS = Path("/usr/lib/cni")
NO_SERVICES = Path("/usr/sbin/policy-rc.d")
PROVIDERS = {
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
    "/usr/sbin/ip": "iproute2",
    "/usr/bin/busybox": "busybox-static",
}


def ensure_installed() -> None:
    """Install what is missing, without starting any service; TestbedError says what apt-get answered."""
    missing = sorted(package for file, package in PROVIDERS.items() if not Path(file).exists())
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise TestbedError(f"the real node needs {', '.join(missing)} and this machine has no apt-get")
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
