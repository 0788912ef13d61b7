"""Ends the waiting for a rank that gets nowhere: it is named with what it does, and the gang may be tried again.

The launcher looks at what its ranks tell it (`heartbeat`). The limit is shorter than the operator's, which knows the
steps of rank 0 alone and would have no name for the culprit; HCCL's own (`HCCL_EXEC_TIMEOUT`) is shorter still, since
it knows which peer is silent. Until a rank has made its first step, `startupDeadlineSeconds` bounds its start.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arcface_api.contract.reports import Standstill
from arcface_trainer.heartbeat import Beat, Phase
from arcface_trainer.pod.processes import RankProcess

SHARE = 0.95
"""Of `stallSeconds`."""
STOP_PATIENCE_SECONDS = 90.0
"""After a request to stop: a rank that waits for dead peers inside a collective cannot save."""
LONGEST_LOOK = 5.0
"""Seconds between two looks that count: of a longer time the launcher slept itself, as in a frozen container."""
HELD = {
    "T": "its process is stopped",
    "t": "a debugger holds its process",
    "D": "its process waits for a disk or device",
}
"""States of a process, by the kernel's letters, in which it cannot go on by itself (proc(5))."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A rank that all others wait for."""

    rank: RankProcess
    message: str
    standstill: Standstill


@dataclass(slots=True)
class _Idleness:
    """How long a rank has been seen at the same thing."""

    beat: Beat | None
    is_asked_to_stop: bool
    seconds: float = 0.0

    def is_past(self, limit: float) -> bool:
        """Whether it has taken too long; there is no limit to a start that nobody wants ended."""
        phase = Phase.START if self.beat is None else self.beat.phase
        if not self.is_asked_to_stop:
            return phase is not Phase.START and self.seconds > limit
        is_saving = phase is Phase.CHECKPOINT
        return self.seconds > (limit if is_saving else min(limit, STOP_PATIENCE_SECONDS))

    def in_words(self) -> str:
        """What the rank does."""
        asked = ", asked to stop" if self.is_asked_to_stop else ""
        if self.beat is None:
            return f"for {self.seconds:.0f} s starting{asked}"
        return f"for {self.seconds:.0f} s {self.beat.phase.in_words}, after step {self.beat.step}{asked}"


@dataclass(slots=True)
class Watchdog:
    """Looks at the ranks of a pod again and again."""

    limit: float
    """Seconds that a rank may do one thing."""
    _idleness: dict[int, _Idleness] = field(default_factory=dict)
    _looked_at: float | None = None
    """Seconds of `time.monotonic`."""

    @classmethod
    def of(cls, stall_seconds: int) -> "Watchdog":
        """That of a job."""
        return cls(SHARE * stall_seconds)

    def look(self, ranks: Sequence[RankProcess], now: float) -> Stall | None:
        """The rank to name as soon as any rank gets nowhere, since its peers may have to wait for it.

        Args:
            ranks: of this pod.
            now: seconds of `time.monotonic`.
        """
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, LONGEST_LOOK)
        self._looked_at = now
        at_work = [rank for rank in ranks if not rank.is_finished]
        for rank in at_work:
            self._note(rank, passed)
        if not any(self._idleness[rank.rank].is_past(self.limit) for rank in at_work):
            return None
        culprit = min(at_work, key=self._waited_for)
        held = "" if (state := _held(culprit)) is None else f": {state}"
        message = f"rank {culprit.rank} makes no progress: {self._idleness[culprit.rank].in_words()}{held}"
        return Stall(culprit, message, self._standstill(culprit))

    def behind(self, ranks: Sequence[RankProcess], failed: RankProcess) -> str | None:
        """What is said of a rank that a failed one may have waited for in vain, by what both did last.

        HCCL's patience ends first, at the ranks that wait: the one that kept them waiting is still there.
        """
        others = [rank for rank in ranks if rank is not failed and rank.rank in self._idleness and not rank.is_finished]
        if failed.rank not in self._idleness or not others:
            return None
        culprit = min(others, key=self._waited_for)
        idleness = self._idleness[culprit.rank]
        if idleness.seconds < self.limit / 2 or self._standstill(culprit).order >= self._standstill(failed).order:
            return None
        return f"rank {culprit.rank} was behind it: {idleness.in_words()}"

    def _note(self, rank: RankProcess, passed: float) -> None:
        """Take into account what a rank does now."""
        beat, is_asked = rank.beat(), rank.is_asked_to_stop
        known = self._idleness.get(rank.rank)
        if known is None or (known.beat, known.is_asked_to_stop) != (beat, is_asked):
            self._idleness[rank.rank] = _Idleness(beat, is_asked)
        else:
            known.seconds += passed

    def _waited_for(self, rank: RankProcess) -> tuple[tuple[bool, int, bool], float]:
        """Smallest for the rank that the others wait for; of several the one that has been idle longest."""
        return self._standstill(rank).order, -self._idleness[rank.rank].seconds

    def _standstill(self, rank: RankProcess) -> Standstill:
        beat, is_held = self._idleness[rank.rank].beat, _held(rank) is not None
        if beat is None:
            return Standstill(is_held=is_held, is_in_step=False)
        return Standstill(is_held=is_held, step=beat.step, is_in_step=beat.phase is Phase.STEP)


def _held(rank: RankProcess) -> str | None:
    """Why a rank's process cannot go on; None where it can, or is gone."""
    try:
        stat = Path(f"/proc/{rank.process.pid}/stat").read_text()
    except OSError:
        return None
    return HELD.get(stat.rpartition(")")[2].split()[0])
