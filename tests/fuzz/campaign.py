"""Fuzzes every reader of outside bytes: `make fuzz` (SECONDS=…, SEED=…, ONLY=name).

Inputs are changes of samples; what is refused in a way not seen before becomes a sample, too, so that changes
go deeper. The n-th input of a target and a seed is always the same. What breaks the property is
written to work/fuzz.
"""

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

from fuzz.target import BrokenPropertyError, Target, judge, watched_time
from fuzz.targets import all_targets

CORPUS = Path(__file__).parent / "corpus"
"""Inputs that broke something once, or are refused in a way of their own: a folder for each target."""
MOST_SAMPLES = 400
"""That a target keeps."""
TURN_SECONDS = 1.0
"""Of a target before the next has its own."""
BROKEN = Path("work/fuzz")


@dataclass(slots=True)
class Campaign:
    """One target's inputs so far."""

    target: Target
    random: Random
    samples: list[bytes]
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: dict[str, bytes] = field(default_factory=dict)
    """By what broke: the first input that did it."""

    @classmethod
    def of(cls, target: Target, seed: str) -> "Campaign":
        """Begun with the samples and the corpus."""
        return cls(target, Random(f"{seed}/{target.name}"), [*target.samples, *corpus_of(target)])

    def go_on(self, seconds: float) -> None:
        """Judge more inputs."""
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            self.judge_next()

    def judge_next(self) -> None:
        """Judge one more."""
        self._judge(self.target.mutate(self.random, self.random.choice(self.samples), self.samples))

    def _judge(self, data: bytes) -> None:
        self.inputs += 1
        try:
            outcome = judge(self.target, data)
        except BrokenPropertyError as error:
            self.broken.setdefault(str(error)[:100], data)
            return
        if not self.outcomes[outcome] and len(self.samples) < MOST_SAMPLES:
            self.samples.append(data)
        self.outcomes[outcome] += 1

    @property
    def line(self) -> str:
        """For the report."""
        accepted = self.outcomes["accepted"]
        kinds = len(self.outcomes) - (accepted > 0)
        return f"{self.target.name:24} {self.inputs:>10,} {accepted:>10,} {kinds:>8} {len(self.broken):>7}"


def corpus_of(target: Target) -> list[bytes]:
    """What is kept for a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target.name).glob("*"))]


def _keep_broken(campaigns: list[Campaign]) -> None:
    for campaign in campaigns:
        for why, data in campaign.broken.items():
            path = BROKEN / campaign.target.name / sha256(data).hexdigest()[:16]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"{path}: {why}")  # noqa: T201


def _report(campaigns: list[Campaign], seed: str, began: float) -> None:
    print(f"{'target':24} {'inputs':>10} {'accepted':>10} {'refusals':>8} {'broken':>7}")  # noqa: T201
    for campaign in campaigns:
        print(campaign.line)  # noqa: T201
    inputs, seconds, own = sum(each.inputs for each in campaigns), time.monotonic() - began, time.process_time()
    print(f"seed {seed}: {inputs:,} inputs in {seconds:.0f} s, of which {own:.0f} s on a core")  # noqa: T201
    _keep_broken(campaigns)


def main() -> int:
    """Fuzz for a while and report; 1 where a property broke."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", default="", help="targets whose names hold this")
    given = parser.parse_args()
    began = time.monotonic()
    campaigns = [Campaign.of(target, given.seed) for target in all_targets() if given.only in target.name]
    with watched_time():
        while time.monotonic() - began < given.seconds:
            for campaign in campaigns:
                campaign.go_on(TURN_SECONDS)
    _report(campaigns, given.seed, began)
    return int(any(campaign.broken for campaign in campaigns))


if __name__ == "__main__":
    sys.exit(main())
