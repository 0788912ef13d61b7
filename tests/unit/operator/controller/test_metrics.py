"""What Prometheus is told of the operator itself."""

from importlib.metadata import version

import pytest

from arcface_operator.controller.metrics import OperatorMetrics


def test_what_runs_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCFACE_REVISION", "1a2b3c4")
    labels = {"version": version("arcface-api"), "revision": "1a2b3c4"}
    assert OperatorMetrics(list).registry.get_sample_value("arcface_build_info", labels) == 1
    monkeypatch.setenv("ARCFACE_REVISION", "")
    labels["revision"] = "unknown"
    assert OperatorMetrics(list).registry.get_sample_value("arcface_build_info", labels) == 1
