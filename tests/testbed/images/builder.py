"""Builds the Dockerfiles as they are with Debian's buildah, on a base that debootstrap makes, without a registry.

What is built stays in a store outside the working tree, so that only changed steps are run again.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.programs.commands import run
from testbed.real_node.packages import IMAGES, ensure_installed

REPOSITORY = Path(__file__).resolve().parents[3]
BASE = "localhost/debian-python:3.11"
"""Stands for the official Python image and for CANN's: both are a distribution with Python."""
SUITE = "bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class ImageBuilder:
    """A store of images, used by one process at a time."""

    def __init__(self, store: Path, runtime: Path) -> None:
        self.command = ["buildah", "--root", str(store), "--runroot", str(runtime), "--storage-driver", "overlay"]

    def buildah(self, *arguments: str) -> str:
        """Standard output of a buildah command."""
        return run([*self.command, *arguments]).strip()

    def has(self, image: str) -> bool:
        """Whether the store has an image."""
        return image in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()

    def make_base(self) -> None:
        """Make the base image, which takes a minute, unless it is there."""
        if self.has(BASE):
            return
        with tempfile.TemporaryDirectory(prefix="debootstrap-") as root:
            run(["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", SUITE, root])
            container = self.buildah("from", "scratch")
            self.buildah("add", "--quiet", container, root, "/")
        # Whom this machine trusts: package registries may be reached through a proxy of its own.
        self.buildah("copy", "--quiet", container, str(CERTIFICATES), str(CERTIFICATES))
        self.buildah("config", "--env", f"PIP_CERT={CERTIFICATES}", container)
        self.buildah("commit", "--quiet", "--rm", container, BASE)

    def build(self, dockerfile: str, image: str) -> None:
        """Build a Dockerfile of the repository; TestbedError with what it says if a step fails."""
        options = ["--layers", "--isolation=chroot", f"--build-arg=BASE={BASE}", f"--file={REPOSITORY / dockerfile}"]
        self.buildah("build", *options, f"--tag={image}", str(REPOSITORY))

    def put_before(self, image: str, folder: Path, name: str) -> None:
        """An image with the packages of a folder before its own on the path of Python."""
        container = self.buildah("from", image)
        self.buildah("copy", "--quiet", container, str(folder), "/before")
        self.buildah("config", "--env", "PYTHONPATH=/before", container)
        self.buildah("commit", "--quiet", "--rm", container, name)

    def export(self, image: str, tar: Path) -> Path:
        """Write an image as an OCI archive."""
        tar.unlink(missing_ok=True)
        self.buildah("push", "--quiet", image, f"oci-archive:{tar}:{image}")
        return tar

    @contextmanager
    def container(self, image: str) -> Iterator[str]:
        """A container of an image, for `run`."""
        name = self.buildah("from", image)
        try:
            yield name
        finally:
            self.buildah("rm", name)

    def run(self, container: str, *command: str) -> str:
        """Standard output of a command in a container, as the image's user."""
        return self.buildah("run", "--isolation=chroot", container, "--", *command)


@contextmanager
def image_builder() -> Iterator[ImageBuilder]:
    """The builder with its base image; TestbedError where this machine cannot build."""
    ensure_installed(IMAGES)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arcface-testbed"
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".images-lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="buildah-") as runtime:
        fcntl.flock(lock, fcntl.LOCK_EX)
        builder = ImageBuilder(home / "images", Path(runtime))
        builder.make_base()
        yield builder
