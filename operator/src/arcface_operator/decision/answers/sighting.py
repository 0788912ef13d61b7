"""How it went to ask a gang's first pod for its progress. Not seeing is not knowing: nothing but an answer is evidence.

Kubernetes leaves open how a NetworkPolicy denies: network plugins drop packets, or answer with a reset or with ICMP, so
that neither a timeout nor a refused connection tells of the program. A service mesh takes the connection itself.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Reach(Enum):
    """What a question came to, in the words of the condition Reachable's reasons."""

    ANSWERS = "Answers"
    REFUSED = "ConnectionRefused"
    NO_ROUTE = "NoRoute"
    TIMED_OUT = "TimedOut"
    """No connection in time."""
    SILENT = "Silent"
    """A connection, and no answer in time."""
    UNREADABLE = "NotAReport"
    OTHER_ATTEMPT = "OtherAttempt"
    """A report, but of another job or attempt."""


_CAUSES = {
    Reach.REFUSED: "the program has not opened the port yet, or a NetworkPolicy rejects the operator",
    Reach.NO_ROUTE: "a NetworkPolicy or firewall rejects the operator, or the node's network is down",
    Reach.TIMED_OUT: "a NetworkPolicy drops what comes from the operator's pods, or the node is cut off",
    Reach.SILENT: "a service mesh that wants mTLS on this port, or a process that stands still",
    Reach.UNREADABLE: "a service mesh or proxy in between, or another program on the port",
    Reach.OTHER_ATTEMPT: "the port is taken by another pod in the node's network (hostNetwork)",
}


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """One question and what it came to."""

    reach: Reach
    endpoint: str
    """Address and port that were asked."""
    since: datetime
    """Since when this pod's questions come to an answer, or to none."""
    detail: str = ""
    """What was answered instead, or the operating system's word."""

    @property
    def is_answer(self) -> bool:
        """Whether the pod itself was heard."""
        return self.reach is Reach.ANSWERS

    @property
    def sentence(self) -> str:
        """What is known, with the likely cause where there was no answer."""
        if self.is_answer:
            return f"{self.endpoint} answers"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.endpoint} tells no progress{detail}: {_CAUSES[self.reach]}; the pods alone judge the gang"
