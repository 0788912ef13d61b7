"""What an image holds, as CycloneDX 1.6: Python distributions and the packages of Debian or Ubuntu.

It runs inside of the image:

    docker run --rm --interactive --entrypoint python3 IMAGE - < release/sbom.py > IMAGE.cdx.json

It reads the image itself and no lock file, needs the standard library alone, and prints the same for the same image.
"""

import json
import platform
import re
import sys
import urllib.parse
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

DPKG = Path("/var/lib/dpkg")


def python_components() -> Iterator[dict[str, Any]]:
    """The distributions that this Python imports from."""
    for each in distributions():
        name = re.sub(r"[-_.]+", "-", each.name).lower()
        yield component(name, each.version, f"pkg:pypi/{name}@{each.version}", license_of(each))


def license_of(distribution: Distribution) -> str | None:
    """Its license in SPDX's words or its own; None where it tells none in a line."""
    metadata = distribution.metadata
    told = metadata.get("License-Expression") or metadata.get("License") or ""
    return told if told and "\n" not in told else None


def debian_components() -> Iterator[dict[str, Any]]:
    """The installed packages of the base image; none where it is of another distribution."""
    status = DPKG / "status"
    for block in status.read_text(errors="replace").split("\n\n") if status.exists() else ():
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.+)$", block, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            yield component(name, version, debian_purl(name, version, fields["Architecture"]), None)


def debian_purl(name: str, version: str, architecture: str) -> str:
    """Package URL of an installed package, of the distribution that /etc/os-release names."""
    told = platform.freedesktop_os_release()
    distribution = told["ID"] + (f"-{told['VERSION_ID']}" if "VERSION_ID" in told else "")
    quoted = (urllib.parse.quote(each, safe=":") for each in (name, version))
    return f"pkg:deb/{told['ID']}/{'@'.join(quoted)}?arch={architecture}&distro={distribution}"


def component(name: str, version: str, purl: str, license_name: str | None) -> dict[str, Any]:
    """An entry."""
    licenses = {} if license_name is None else {"licenses": [{"license": {"name": license_name}}]}
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, **licenses}


def document() -> dict[str, Any]:
    """The whole, without a time or a number of its own, so that equal images give equal files."""
    found = {each["purl"]: each for each in (*python_components(), *debian_components())}
    runtime = component("python", platform.python_version(), f"pkg:generic/python@{platform.python_version()}", None)
    components = [runtime, *(found[purl] for purl in sorted(found))]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1)
    sys.stdout.write("\n")
