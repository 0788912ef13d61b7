"""Pods that run a few lines of Python."""

import sys
from typing import Any


def make_pod(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A pod whose container runs a script; container fields may be given as `container={...}`."""
    container = {"name": "main", "command": [sys.executable, "-c", script], **spec.pop("container", {})}
    # Longer than any machine is slow: what is to end by itself does so before.
    defaults = {"terminationGracePeriodSeconds": 600}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {**defaults, **spec, "containers": [container]}}
