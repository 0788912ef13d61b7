"""The clock by which all bounds are judged, where it was set back: nothing in a status happened later than now.

What says so was written by another replica, or before this one's clock was set right. At its word a job would wait for
that moment to come, and time with room for a gang would be less than none; so that moment becomes the present one.
"""

from datetime import datetime
from typing import Any

from arcface_api.resource import status as api

MOMENTS: dict[type, str] = {
    api.Condition: "last_transition_time",
    api.Progress: "updated_at",
    api.EvaluationProgress: "updated_at",
    api.AvoidedNode: "since",
    api.Recovery: "since",
    api.ElasticStatus: "changed_at",
}
"""Of a part of a status: the operator's own time. Trainers' clocks are no matter of it."""
PARTS = (
    "restarted_at",
    "start_time",
    "training_completion_time",
    "completion_time",
    "uncounted_restart_times",
    "conditions",
    "progress",
    "evaluation_progress",
    "avoided_nodes",
    "recoveries",
    "elastic",
)


def without_future(status: api.ArcFaceTrainingJobStatus, now: datetime) -> api.ArcFaceTrainingJobStatus:
    """The status as a job has it that nothing has happened to after now."""
    parts = {name: getattr(status, name) for name in PARTS}
    past = {name: _past(part, now) for name, part in parts.items()}
    return status if past == parts else status.model_copy(update=past)


def _past(part: Any, now: datetime) -> Any:
    """A part of a status, which has moments or is one."""
    if isinstance(part, list):
        return [_past(item, now) for item in part]
    if isinstance(part, datetime):
        return min(part, now)
    moment = MOMENTS.get(type(part))
    if moment is None or getattr(part, moment) <= now:
        return part
    return part.model_copy(update={moment: now})
