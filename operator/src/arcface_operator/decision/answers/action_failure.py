"""An action that came to nothing: what the API server said, and which condition depends on it."""

from dataclasses import dataclass
from enum import Enum

from arcface_api.resource.status import ConditionType

REFUSED, UNAVAILABLE = "Refused", "Unavailable"
"""Reasons of a condition whose action failed: refused for good, as long as nobody changes anything, or for now."""
UNREADABLE = "Unreadable"
"""Reason of Ready where a release could not read the job, and did nothing."""


class Purpose(Enum):
    """What actions are for that build on each other; those for one purpose wait for none for another."""

    MAKING = "making"
    REMOVAL = "removal"
    TELLING_KUEUE = "telling Kueue"
    """Its webhook may be away for long, and nothing but Kueue's own books depends on it."""


Family = tuple[ConditionType, Purpose]
"""Actions for one purpose that one condition depends on."""
CREATION: Family = ("Ready", Purpose.MAKING)
"""What pods need, and the pods."""


@dataclass(frozen=True, kw_only=True)
class ActionFailure:
    """One action that the API server did not carry out."""

    condition: ConditionType
    """What cannot become true without it."""
    purpose: Purpose = Purpose.MAKING
    """What it was for."""
    message: str
    """The object and the server's words."""
    is_lasting: bool
    """Whether only a change of the object, of rights, quota or policies helps; else time may."""
    retry_after_seconds: float | None = None
    """The server's own wish."""

    @property
    def family(self) -> Family:
        """The actions that wait with this one until it is tried again."""
        return self.condition, self.purpose

    @property
    def reason(self) -> str:
        """The condition's reason."""
        return REFUSED if self.is_lasting else UNAVAILABLE
