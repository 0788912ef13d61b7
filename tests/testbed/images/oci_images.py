"""Container images for the node without any registry: OCI-layout tars written from files of this machine.

The trainer's image holds no Python. A pod gets the interpreter, the virtual environment and the repository at their
own paths by read-only hostPath volumes (`host_python`), so that it runs the code under test as it is.
"""

import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.programs.commands import TestbedError, run

BUSYBOX = Path("/usr/bin/busybox")
REPOSITORY = Path(__file__).resolve().parents[3]
PAUSE_IMAGE = "localhost/pause:test"
BUSYBOX_IMAGE = "localhost/busybox:test"
TRAINER_IMAGE = "localhost/arcface-trainer:test"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PAUSE_SOURCE = """\
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int signal) { _exit(0); }
static void reap(int signal) { while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
"""


@dataclass
class Image:
    """A root file system of one layer and how its containers start."""

    name: str
    config: dict[str, Any]
    programs: dict[str, Path] = field(default_factory=dict)
    """Path in the image to the file here."""
    links: dict[str, str] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    """Path to mode; a folder that a user may write to is owned by uid 1000."""
    texts: dict[str, str] = field(default_factory=dict)


def pause_image(workdir: Path) -> Image:
    """The image that holds a pod's namespaces; compiled here."""
    program = workdir / "pause"
    compiler = ["cc", "-static", "-Os", "-x", "c", "-", "-o", str(program)]
    done = subprocess.run(compiler, input=PAUSE_SOURCE, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TestbedError(f"{' '.join(compiler)}: {' '.join(done.stderr.split())}")
    return Image(PAUSE_IMAGE, {"Entrypoint": ["/pause"]}, programs={"pause": program})


def busybox_image() -> Image:
    """A shell and the usual commands."""
    return Image(
        BUSYBOX_IMAGE, {"Env": ["PATH=/bin"], "Cmd": ["sh"]}, {"bin/busybox": BUSYBOX}, applets("bin"), {"tmp": 0o1777}
    )


def trainer_image() -> Image:
    """A home and a PATH that finds the virtual environment's commands once it is mounted."""
    return Image(
        TRAINER_IMAGE,
        {
            "User": "1000:1000",
            "WorkingDir": "/home/arcface",
            "Env": [f"PATH={sys.prefix}/bin:/usr/bin:/bin", "HOME=/home/arcface", "LANG=C.UTF-8"],
        },
        links={name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")},
        folders={"tmp": 0o1777, "home/arcface": 0o755, "usr": 0o755},
        texts={"etc/passwd": "arcface:x:1000:1000::/home/arcface:/bin/sh\n", "etc/group": "arcface:x:1000:\n"},
    )


def stand_in_image(name: str, script: Path, text: str) -> Image:
    """Busybox with an `arcface` that plays the trainer: a shell script, which is written to the path."""
    script.write_text(text)
    programs = {"bin/busybox": BUSYBOX, "bin/arcface": script}
    return Image(name, {"User": "1000:1000", "Env": ["PATH=/bin"]}, programs, applets("bin"), {"tmp": 0o1777})


def applets(folder: str) -> dict[str, str]:
    """Links to busybox for each of its commands."""
    return {f"{folder}/{name}": "busybox" for name in run([str(BUSYBOX), "--list"]).split() if name != "busybox"}


def host_python(container: str) -> dict[str, Any]:
    """Pod template with the read-only volumes that the trainer's image needs, for the named container."""
    paths = {Path(folder).resolve() for folder in ("/usr", sys.base_prefix, sys.prefix, str(REPOSITORY))}
    outermost = sorted(
        path for path in paths if not any(path != other and path.is_relative_to(other) for other in paths)
    )
    volumes = [
        {"name": f"host-{number}", "hostPath": {"path": str(path), "type": "Directory"}}
        for number, path in enumerate(outermost)
    ]
    mounts = [
        {"name": f"host-{number}", "mountPath": str(path), "readOnly": True} for number, path in enumerate(outermost)
    ]
    return {"spec": {"volumes": volumes, "containers": [{"name": container, "volumeMounts": mounts}]}}


def write_image(image: Image, tar: Path) -> Path:
    """Write the image as an OCI layout that `ctr images import` takes."""
    layer = layer_of(image)
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    config = as_json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    )
    manifest = as_json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    )
    named = descriptor("application/vnd.oci.image.manifest.v1+json", manifest) | {
        "annotations": {"io.containerd.image.name": image.name},
        "platform": {"architecture": architecture, "os": "linux"},
    }
    with tarfile.open(tar, "w") as archive:
        add(archive, "oci-layout", as_json({"imageLayoutVersion": "1.0.0"}))
        add(archive, "index.json", as_json({"schemaVersion": 2, "manifests": [named]}))
        for blob in (layer, config, manifest):
            add(archive, f"blobs/{digest(blob).replace(':', '/')}", blob)
    return tar


def layer_of(image: Image) -> bytes:
    """The root file system as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, mode in image.folders.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            entry.uid = entry.gid = 1000 if path.startswith("home/") else 0
            archive.addfile(entry)
        for path, target in image.links.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        for path, source in image.programs.items():
            add(archive, path, source.read_bytes(), 0o755)
        for path, text in image.texts.items():
            add(archive, path, text.encode())
    return buffer.getvalue()


def add(archive: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644) -> None:
    """Add a file; times stay zero, so that the same image has the same digest."""
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def as_json(value: Any) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True).encode()


def digest(blob: bytes) -> str:
    """Digest as OCI writes it."""
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    """Reference to a blob."""
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}
