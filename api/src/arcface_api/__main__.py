"""Writes `crds/` from the types; with `--check` only says whether the committed file is up to date.

Run from the root of the repository: `python -m arcface_api [--check]`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from arcface_api.errors import ExitCode
from arcface_api.names import GROUP, PLURAL
from arcface_api.resource.crd import custom_resource_definition

FILE = Path("crds") / f"{GROUP}_{PLURAL}.yaml"
HEAD = "# Generated from the types of arcface_api by `make crds`; change those instead.\n"


def main(arguments: Sequence[str]) -> int:
    """Write or check the file and return the exit status."""
    if list(arguments) not in ([], ["--check"]):
        return _complain("usage: python -m arcface_api [--check]", ExitCode.INVALID_INPUT)
    text = HEAD + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120, allow_unicode=True)
    if arguments:
        if FILE.is_file() and FILE.read_text() == text:
            return ExitCode.DONE
        return _complain(f"{FILE}: is not what the types say: run `make crds`", ExitCode.FAILED)
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text)
    return ExitCode.DONE


def _complain(sentence: str, code: ExitCode) -> int:
    """Say what is wrong in one line."""
    print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
