"""Turning the absolute paths of a container into paths of this machine."""

import json
from collections.abc import Mapping
from typing import Any


def relocate(value: Any, places: Mapping[str, str]) -> Any:
    """`value` with every string at or below a container's path moved to where that path is on this machine.

    Args:
        value: a string, or lists and maps of them as in JSON; keys and other values stay.
        places: mount path in the container to path on this machine; the longest match decides.
    """
    if isinstance(value, str):
        return _relocate_path(value, places)
    if isinstance(value, list):
        return [relocate(item, places) for item in value]
    if isinstance(value, dict):
        return {key: relocate(item, places) for key, item in value.items()}
    return value


def _relocate_path(text: str, places: Mapping[str, str]) -> str:
    """One string moved, or as it is when it is no path in a mount."""
    for mount in sorted(places, key=len, reverse=True):
        path = mount.rstrip("/")
        if text == path or text.startswith(f"{path}/"):
            return places[mount].rstrip("/") + text[len(path) :]
    return text


def relocate_file(name: str, text: str, places: Mapping[str, str]) -> str:
    """Content of a ConfigMap's file: JSON is relocated, anything else stays."""
    if not name.endswith(".json"):
        return text
    return json.dumps(relocate(json.loads(text), places), indent=2)
