"""What is decided about the job `quick` in a phase."""

from typing import Any

from arcface_operator.decision.decide import decide
from support.builders.jobs import make_job
from support.builders.views import NOW, SETTINGS
from support.decision_table import observation_in, status_in


def plan_in(phase: Any, seen: dict[str, Any], status: dict[str, Any] | None = None, **spec: Any) -> Any:
    """The plan for what is seen; `status` and `spec` are fields that differ from what is usual."""
    fields = {"workers": {"replicas": 2}, **spec}
    job = make_job(**fields).model_copy(update={"status": status_in(phase, **(status or {}))})
    return decide(observation_in(phase, job, seen), SETTINGS, NOW)
