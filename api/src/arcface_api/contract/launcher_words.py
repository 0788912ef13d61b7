"""What launchers of pods say while their pods go on: to that of pod 0, which tells the operator of all of them.

    POST /word    a `PodWord`; the answer `HeardWord` says whether somebody acts on it
    GET  /gang    a `GangWord`, after `?after=SERIAL` as soon as there is a newer one, or after `&seconds=SECONDS`

Launchers of earlier releases serve neither: their pods end with their ranks.
"""

from typing import Self

from pydantic import Field, ValidationError

from arcface_api.contract.reports import ReportedFailure
from arcface_api.model import Model

MOST_FAILURES = 8
"""Of a gang's word, so that it stays far below what the operator reads of an answer."""
LONGEST_WAIT_SECONDS = 20.0
"""For a newer word."""


class PodWord(Model):
    """What the launcher of a pod says of its ranks."""

    job_uid: str | None = None
    """Which job's it is, by its uid."""
    attempt: int = Field(ge=0)
    """Which attempt's."""
    launch: int = Field(ge=0)
    """Which launch of the attempt's ranks."""
    rank: int = Field(ge=0)
    """First rank of the pod."""
    failure: ReportedFailure | None = None
    """Why its ranks have been ended; absent while they run."""
    step: int | None = Field(default=None, ge=0)
    """Last step that one of them had made."""


class HeardWord(Model):
    """The answer to a word."""

    is_heard: bool
    """Whether the operator listens: a pod that nobody hears ends, as one without its ranks does."""


class GangWord(Model):
    """What all launchers of a gang say, as pod 0's tells it."""

    job_uid: str | None = None
    """Which job's it is."""
    attempt: int = Field(ge=0)
    """Which attempt's."""
    serial: int = Field(ge=0)
    """Rises with every word."""
    launch: int = Field(ge=0)
    """Newest launch that any of them has come to."""
    pods: int = Field(ge=0)
    """How many have come to it."""
    failures: list[PodWord] = []
    """Those whose ranks have been ended in that launch, in the order in which they said so; of many the first."""

    @classmethod
    def parse(cls, content: bytes | bytearray) -> Self | None:
        """The words in an answer; None where it holds something else."""
        try:
            return cls.model_validate_json(content, extra="ignore")
        except ValidationError:
            return None
