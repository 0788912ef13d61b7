"""What a launcher does for the states in its pod's memory: before its ranks start, while they run, and at its end.

It fetches them where its pod takes the place of a lost one, keeps copies of another pod's (`mirror`), and saves the
newest where its ranks cannot (`last_state`). Ranks know nothing of it, and nothing of it can fail a training. What
reads checkpoints is loaded when there are some: NumPy takes its time, and ranks start before.
"""

import logging
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from arcface_api.contract import run_config
from arcface_api.contract.launcher_words import FETCH_SECONDS
from arcface_api.errors import NEVER_RETRIED, ArcFaceError, ExitCode, printable
from arcface_trainer.background import in_background
from arcface_trainer.heartbeat import Beat, Phase
from arcface_trainer.pod.launches import Launches
from arcface_trainer.pod.processes import RankProcess

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
SAVE_SECONDS = 25.0
"""For the last state: of a pod's 120 s of grace its ranks may have taken 90 (`watchdog`)."""
POLL_SECONDS = 0.1
STILL_SECONDS = 1.0
"""Without a step or a save after a request to stop, at least: ranks may wait for a dead peer."""
STILL_STEPS = 2.0
"""In as much time as so many steps took, where that is longer."""
MOST_STILL_SECONDS = 4.0
"""A pod that lost a peer is given 10 s to end in; where steps take long, a save of theirs may begin beside this one."""


@dataclass
class PodStates:
    """The states in a pod's memory."""

    config: run_config.RunConfig
    launches: Launches
    folder: Path
    """In shared memory."""
    ranks: list[RankProcess]
    """Of the present launch."""
    signals: list[int]
    """Requests to stop that have come."""
    _ended: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Fetch states where this pod takes the place of another; then keep copies of another pod's, and watch."""
        work = [self._save_where_ranks_stand_still]
        if self._is_mirrored:
            work.append(self._keep_copies)
            if self.launches.identity.launch:
                self._fetch()
        self._threads += [Thread(target=each, daemon=True, name=each.__name__) for each in work]
        for thread in self._threads:
            thread.start()

    def end(self, exit_code: int) -> None:
        """Keep no copies any more, and save the newest state where the ranks have failed to."""
        self._ended.set()
        for thread in self._threads:
            thread.join(SAVE_SECONDS)  # one of them may be saving
        if exit_code not in {ExitCode.DONE, *NEVER_RETRIED}:
            self._save_last()

    @property
    def _is_mirrored(self) -> bool:
        ranks, budget = self.config.ranks, self.config.checkpoint.mirror_mebibytes
        return self.launches.server is not None and ranks.world_size > ranks.per_pod and budget != 0

    @property
    def _has_states(self) -> bool:
        return any(self.folder.glob("rank-*/step-*"))

    def _fetch(self) -> None:
        """Fetch states, or leave it: then the ranks agree on the volume."""
        from arcface_trainer.pod import mirror, peers, state_client  # noqa: PLC0415 - see above

        gang = peers.Peers(self.config, self.launches, self.folder)
        try:
            deadline = time.monotonic() + FETCH_SECONDS
            work = in_background(lambda: mirror.fetch_states(gang, deadline), "fetch")
            while time.monotonic() < deadline and not work.done() and not self.signals:
                self._ended.wait(POLL_SECONDS)
            found = work.result(0)
            for each in found:  # here and not there: who comes too late must not change what ranks have found
                each.publish()
            LOG.info("fetched states=%s", sorted({each.final.name for each in found}))
        except state_client.FAULTS as error:
            LOG.warning("no states are fetched reason=%s", printable(str(error)) or type(error).__name__)
        for left in self.folder.glob(f"{mirror.FETCHED}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _keep_copies(self) -> None:
        """Look at the other pod's states again and again, as soon as there are own ones.

        In a later launch at once: a new pod 0 waits to be told where this one is.
        """
        while not self._has_states and not self.launches.identity.launch:
            if self._ended.wait(LOOK_SECONDS):
                return
        from arcface_trainer.pod import mirror, peers  # noqa: PLC0415 - see above

        gang = peers.Peers(self.config, self.launches, self.folder)
        copies = mirror.Mirror(gang, lambda: self._ended.is_set() or bool(self.signals))
        while not self._ended.wait(LOOK_SECONDS):
            copies.look()

    def _save_where_ranks_stand_still(self) -> None:
        """Begin to save as soon as ranks that are asked to stop get nowhere: a pod that lost a peer has few seconds."""
        beats: list[Beat | None] = []
        step_seconds = 0.0
        while not self.signals:
            if self._ended.wait(POLL_SECONDS):
                return
            before, beats = beats, self._beats()
            step_seconds = max(_step_seconds(before, beats), default=step_seconds)
        beats = self._beats()
        is_saving = any(beat is not None and beat.phase is Phase.CHECKPOINT for beat in beats)
        patience = min(max(STILL_SECONDS, STILL_STEPS * step_seconds), MOST_STILL_SECONDS)
        if not self._ended.wait(patience) and not is_saving and self._beats() == beats:
            self._save_last()

    def _beats(self) -> list[Beat | None]:
        """What the ranks do that have not ended."""
        return [rank.beat() for rank in self.ranks if not rank.is_finished]

    def _save_last(self) -> None:
        """Save the newest state, if that is newer than the volume's."""
        if not self._has_states:
            return
        try:
            in_background(self._write_last, "last-state").result(SAVE_SECONDS)
        except (OSError, ArcFaceError) as error:
            LOG.warning("the newest state in memory is not saved reason=%s", str(error) or type(error).__name__)

    def _write_last(self) -> None:
        from arcface_trainer.pod import last_state  # noqa: PLC0415 - see above

        state = last_state.LastState.of(self.config, self.launches.identity, self.folder)
        if state is not None:
            is_whole = state.save()
            LOG.info("the newest state in memory is on the volume step=%d is_whole=%s", state.step, is_whole)


def _step_seconds(before: list[Beat | None], after: list[Beat | None]) -> list[float]:
    """What a step has taken the ranks that have made some between two looks."""
    pairs = [(old, new) for old, new in zip(before, after, strict=False) if old is not None and new is not None]
    return [(new.began_at - old.began_at) / (new.step - old.step) for old, new in pairs if new.step > old.step]
