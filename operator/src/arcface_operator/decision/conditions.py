"""Conditions of a job: each a fact with a reason, whose time changes only when its truth does."""

import re
from datetime import datetime
from typing import Literal

from arcface_api.resource.status import ArcFaceTrainingJobStatus, Condition, ConditionType
from arcface_operator.decision.context import Case

Truth = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 1024
REASON_LIMIT = 128


def with_condition(case: Case, kind: ConditionType, *, truth: bool, reason: str, message: str = "") -> Case:
    """The case with one condition set."""
    old = condition(case.status, kind)
    status: Truth = "True" if truth else "False"
    new = Condition(
        type=kind,
        status=status,
        reason=word(reason),
        message=message[:MESSAGE_LIMIT],
        observed_generation=case.job.metadata.generation,
        last_transition_time=old.last_transition_time if old is not None and old.status == status else case.now,
    )
    others = [item for item in case.status.conditions if item.type != kind]
    return case.with_status(conditions=sorted([*others, new], key=lambda item: item.type))


def word(reason: str) -> str:
    """A reason in the form that conditions allow: kubelets also say `OutOfhuawei.com/Ascend910`."""
    return re.sub(r"[^A-Za-z0-9]+", "", reason)[:REASON_LIMIT].lstrip("0123456789") or "Unknown"


def condition(status: ArcFaceTrainingJobStatus, kind: ConditionType) -> Condition | None:
    """A condition, None where it was never set."""
    return next((item for item in status.conditions if item.type == kind), None)


def true_since(status: ArcFaceTrainingJobStatus, kind: ConditionType) -> datetime | None:
    """Since when a condition holds; None where it does not."""
    found = condition(status, kind)
    return found.last_transition_time if found is not None and found.status == "True" else None
