"""MindSpore's scheduler beside rank 0, as its pod sees it: without it no rank joins the others."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from arcface_api.contract.pod_environment import ROLE, SCHEDULER
from arcface_trainer.pod.rank_process import RankProcess, module_command, shell_status

GRACE_SECONDS = 10.0
"""In which the scheduler leaves after its ranks, or its ranks after it."""


@dataclass(slots=True)
class SchedulerProcess:
    """The process, and since when it is gone."""

    process: subprocess.Popen[bytes]
    grace_seconds: float = GRACE_SECONDS
    gone_since: float | None = None
    """Seconds of `time.monotonic`."""

    @classmethod
    def start(cls, environment: dict[str, str]) -> Self:
        """Start it with the environment of a rank."""
        command = module_command("arcface_trainer.distributed.scheduler")
        return cls(subprocess.Popen(command, env=environment | {ROLE: SCHEDULER}, start_new_session=True))

    def loss(self, ranks: Sequence[RankProcess]) -> str | None:
        """What is said of a scheduler that is gone while no rank is done; ranks that have not joined wait for it.

        Ranks that have joined may end by themselves, which says more: MindSpore ends it with a rank that is lost.
        """
        code = self.process.poll()
        if code is None or any(rank.is_finished for rank in ranks):
            return None
        if self.gone_since is None:
            self.gone_since = time.monotonic()
        if time.monotonic() - self.gone_since < self.grace_seconds:
            return None
        return f"MindSpore's scheduler ended with exit code {shell_status(code)} before its ranks: is its port in use?"

    def end(self, ranks: Sequence[RankProcess]) -> None:
        """It leaves by itself after its ranks; one that does not is killed, at once where no rank had joined."""
        is_needed = not any(rank.has_nothing_to_save for rank in ranks)
        try:
            self.process.wait(self.grace_seconds if is_needed else 0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
