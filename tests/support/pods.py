"""Pods that run a few lines of Python, and waiting for what they do."""

import sys
import time
from collections.abc import Callable
from typing import Any


def make_pod(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A pod whose container runs a script; container fields may be given as `container={...}`."""
    container = {"name": "main", "command": [sys.executable, "-c", script], **spec.pop("container", {})}
    defaults = {"terminationGracePeriodSeconds": 5}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": {**defaults, **spec, "containers": [container]}}


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return once the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.02)
