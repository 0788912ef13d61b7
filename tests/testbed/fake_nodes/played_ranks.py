"""Ranks that are played, as MindSpore's behave to each other; plain values, the time is handed in.

None trains before all of a gang have joined at one address, for one launch. One that dies leaves the others in a
collective, where they wait for it in vain. A request to stop that reaches one pod ends all of them together, once they
have met; with one that is dead they agree on nothing.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from threading import Lock


@dataclass(frozen=True, slots=True)
class MeetingPlace:
    """Where ranks join: those who differ in any of it never meet."""

    job_uid: str | None
    attempt: int
    launch: int
    scheduler: str
    """Address."""


@dataclass(slots=True)
class Meeting:
    """The ranks at one place, a pod's together; pods go by their first ranks."""

    joined: set[int] = field(default_factory=set)
    met_at: float | None = None
    lost_at: float | None = None
    """When the first one left that the others wait for."""
    stopped_at: float | None = None

    def join(self, pod: int, pods: int, now: float) -> None:
        """The ranks of a pod are there; the last ones of a gang of so many pods begin the training."""
        self.joined.add(pod)
        if self.met_at is None and len(self.joined) == pods:
            self.met_at = now

    def leave(self, pod: int, now: float) -> None:
        """They are there no more; whoever has met waits for them."""
        self.joined.discard(pod)
        if self.met_at is not None and self.lost_at is None and self.stopped_at is None:
            self.lost_at = now

    def stop(self, now: float) -> None:
        """One pod is asked to stop: all save and stop, if they can."""
        if self.met_at is not None and self.lost_at is None and self.stopped_at is None:
            self.stopped_at = now

    def seconds(self, now: float) -> float | None:
        """For how long they have trained; None before they have met."""
        if self.met_at is None:
            return None
        return min([now, *(at for at in (self.lost_at, self.stopped_at) if at is not None)]) - self.met_at


@dataclass(frozen=True, slots=True)
class RankDeath:
    """The end of a pod's ranks that nobody asked for."""

    job_uid: str | None
    attempt: int
    launch: int
    pod: int
    """First rank."""
    exit_code: int
    is_own: bool = True
    """Whether by themselves, and not of a peer's."""
    address: str = ""
    """Of the pod."""
    ends_pod: bool = False
    """Whether the pod ended with them, since nobody called for another launch."""


class PlayedRanks:
    """The ranks of all pods of some nodes; any thread may ask."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.meetings: defaultdict[MeetingPlace, Meeting] = defaultdict(Meeting)
        self.deaths: list[RankDeath] = []

    def ended(self, address: str) -> None:
        """A pod ends with its ranks, which have died."""
        with self.lock:
            for place, death in reversed([*enumerate(self.deaths)]):
                if death.address == address:
                    self.deaths[place] = replace(death, ends_pod=True)
                    return

    def join(self, place: MeetingPlace, pod: int, pods: int, now: float) -> None:
        """See `Meeting`."""
        with self.lock:
            self.meetings[place].join(pod, pods, now)

    def leave(self, place: MeetingPlace, pod: int, now: float) -> None:
        """See `Meeting`."""
        with self.lock:
            self.meetings[place].leave(pod, now)

    def stop(self, place: MeetingPlace, now: float) -> None:
        """See `Meeting`."""
        with self.lock:
            self.meetings[place].stop(now)

    def look(self, place: MeetingPlace, now: float) -> tuple[float | None, bool, float | None]:
        """Seconds of training, whether they were stopped, and for how long they have waited in vain."""
        with self.lock:
            meeting = self.meetings[place]
            vain = None if meeting.lost_at is None else now - meeting.lost_at
            return meeting.seconds(now), meeting.stopped_at is not None, vain

    def died(self, death: RankDeath) -> None:
        """Ranks have died."""
        with self.lock:
            self.deaths.append(death)

    def deaths_of(self, job_uid: str) -> list[RankDeath]:
        """Those of a job."""
        with self.lock:
            return [death for death in self.deaths if death.job_uid == job_uid]
