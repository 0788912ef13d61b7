"""What launchers of pods say while their pods go on: to that of pod 0, which tells the operator of all of them.

    POST /word    a `PodWord`; the answer `HeardWord` says whether somebody acts on it
    GET  /gang    a `GangWord`, after `?after=SERIAL` as soon as there is a newer one, or after `&seconds=SECONDS`

Launchers of earlier releases serve neither: their pods end with their ranks.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from pydantic import Field, ValidationError

from arcface_api.contract.reports import ReportedFailure
from arcface_api.model import Model

MOST_FAILURES = 8
"""Of a gang's word, so that it stays far below what the operator reads of an answer."""
LONGEST_WAIT_SECONDS = 20.0
"""For a newer word."""
FETCH_SECONDS = 20.0
"""In which a new pod fetches its states from its keeper before it says that it has come to a launch.

The operator's patience with launchers begins after it, however short that is.
"""


@dataclass(frozen=True, slots=True)
class LaunchCall:
    """The operator's word to all launchers, as LAUNCH_ANNOTATION has it.

        3                    launch 3, in the pods that have met
        3 anew               launch 3, for which a pod was made anew: all pods meet again
        3 anew 10.244.0.7    the same, and where: in one word, so that an address is never that of another launch

    Where there is a rank table it tells the address. Launchers of earlier releases know the first form alone and do not
    heed the others: by their old address they would never meet a new pod.
    """

    launch: int = 0
    is_anew: bool = False
    scheduler: str | None = None
    """Address of pod 0."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The word in a text; what is none calls for no launch."""
        found = re.fullmatch(r"([0-9]{1,9})( anew)?(?: ([0-9A-Fa-f.:]{2,45}))?", text.strip(), re.ASCII)
        if found is None or (found[3] is not None and found[2] is None):
            return cls()
        try:
            scheduler = None if found[3] is None else str(ipaddress.ip_address(found[3]))
        except ValueError:
            return cls()
        return cls(int(found[1]), is_anew=found[2] is not None, scheduler=scheduler)

    @property
    def text(self) -> str:
        """As the annotation has it."""
        address = "" if self.scheduler is None else f" {self.scheduler}"
        return f"{self.launch} anew{address}" if self.is_anew else str(self.launch)


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
    step: int | None = Field(default=None, ge=0, le=2**53)
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
