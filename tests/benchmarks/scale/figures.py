"""Figures of a played day: what the operator used, kept and asked for, and how fast it was."""

import json
import re
import statistics
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_operator import quantile, stamp
from benchmarks.scale.player import Death

MIB = 2**20
BLOCKS = 20
"""Means of so many stretches are fitted: samples beside each other are too alike to count as many."""
JOB_NAME = re.compile(r"life-\d{5}")
PATIENCE_SECONDS = 60.0
"""For a reaction; what comes later was to something else."""
OF_A_CAUSE = ("crash", "out of memory", "evicted")
"""Deaths that say why: nobody is waited for."""
Note = dict[str, Any]


@dataclass(frozen=True)
class Reaction:
    """From a pod's death to the status that tells of it, in seconds."""

    kind: str
    at: float
    until_heard: float
    """By the operator: the kubelet's stand-in, the API server and its watch."""
    until_sent: float
    """From there until the status had come to the API server: the operator's own part."""
    until_answered: float
    """The API server's part of the write."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.until_heard + self.until_sent + self.until_answered


@dataclass(frozen=True)
class Day:
    """What was noted and logged from the first moment to the last, and when the day itself began and ended."""

    notes: dict[str, list[Note]]
    requests: Sequence[Note]
    began: float
    ended: float

    def samples(self) -> list[Note]:
        """Of the day itself."""
        return [note for note in self.notes["sample"] if self.began <= note["at"] < self.ended]

    def ended_lives(self) -> list[Note]:
        """Jobs that went during the day."""
        return [note for note in self.notes["ended"] if self.began <= note["at"] < self.ended]


def read_notes(file: Path) -> dict[str, list[Note]]:
    """What the operator told of itself, by kind."""
    notes: dict[str, list[Note]] = defaultdict(list)
    for line in file.read_text().splitlines():
        note = json.loads(line)
        notes[note["kind"]].append(note)
    return notes


def tell(day: Day, deaths: Sequence[Death]) -> Iterator[str]:
    """All figures as lines."""
    yield from _tell_lives(day)
    yield from _tell_memory(day)
    yield from _tell_kept(day)
    yield from _tell_requests(day)
    yield from _tell_reactions(day, deaths)
    yield from _tell_process(day)


def _tell_lives(day: Day) -> Iterator[str]:
    lives = day.ended_lives()
    phases = Counter(note["phase"] for note in lives)
    restarts = sum(note["restarts"] for note in lives)
    there = [sum(note["phases"].values()) for note in day.samples() if "phases" in note]
    yield (
        f"lives: {len(lives)} jobs went during the day, {restarts} gang restarts in them; by their last phase:"
        f" {dict(phases)}; jobs there at a time: p50 {statistics.median(there):.0f}, most {max(there)}"
    )


def _tell_memory(day: Day) -> Iterator[str]:
    for name in ("rss", "pss"):
        samples = [note for note in day.samples() if name in note]
        values = [note[name] / MIB for note in samples]
        change, error = slope([note["at"] for note in samples], values)
        days = (day.ended - day.began) / 3600
        yield (
            f"{name.upper()}: first {values[0]:.1f} MiB, last {values[-1]:.1f}, most {max(values):.1f}; slope over"
            f" the second half {change * days:+.2f} +- {error * days:.2f} MiB a day ({change:+.1f} an hour)"
        )


def slope(moments: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Change an hour over the second half, with its standard error: a least-squares fit to means of stretches."""
    half = len(moments) // 2
    stretches = min(BLOCKS, len(moments) - half)
    x = np.array([part.mean() for part in np.array_split(np.asarray(moments[half:]) / 3600, stretches)])
    y = np.array([part.mean() for part in np.array_split(np.asarray(values[half:]), stretches)])
    off = x - x.mean()
    change = float(off @ y / (off @ off))
    rest = y - y.mean() - change * off
    return change, float(np.sqrt(rest @ rest / (len(x) - 2) / (off @ off)))


def _tell_kept(day: Day) -> Iterator[str]:
    for name, sample in (("at the day's end", day.samples()[-1]), ("all jobs gone", day.notes["sample"][-1])):
        kept = ", ".join(f"{count} {kind}" for kind, count in sample["kept"].items())
        yield f"kept, {name}: {kept}; {sample['files']} open files, {sample['rss'] / MIB:.1f} MiB"


def _tell_requests(day: Day) -> Iterator[str]:
    """Requests of a life by the attempts that its gang made, since each makes its pods anew."""
    of_jobs = requests_by_job(day.requests)
    lives = [note for note in day.ended_lives() if note["phase"] is not None]
    edges = np.linspace(day.began, day.ended, 5)
    for number, (start, end) in enumerate(pairwise(edges), start=1):
        part = [note for note in lives if start <= note["at"] < end]
        attempts = sum(note["attempt"] + 1 for note in part) or 1
        verbs: Counter[str] = Counter()
        for note in part:
            verbs += of_jobs[note["name"]]
        figures = sum(note["figures"] for note in part)
        total = sum(verbs.values()) - figures
        yield (
            f"requests, quarter {number}: {len(part)} lives with {attempts} attempts; {total / attempts:.2f} an"
            f" attempt ({', '.join(f'{verb} {count / attempts:.2f}' for verb, count in verbs.most_common())}), and"
            f" {figures / attempts:.2f} of these updates are writes of figures, which go by the clock, counted apart"
        )
    each = [(sum(of_jobs[note["name"]].values()) - note["figures"]) / (note["attempt"] + 1) for note in lives]
    change, error = slope([note["at"] for note in lives], each)
    hours = (day.ended - day.began) / 3600
    yield f"requests an attempt, slope over the second half: {change * hours:+.2f} +- {error * hours:.2f} a day"
    watches = Counter(r["resource"] for r in day.requests if r["verb"] == "watch" and day.began <= stamp(r) < day.ended)
    others = sum(1 for r in day.requests if not JOB_NAME.search(r["name"]) and r["verb"] != "watch")
    yield f"watches begun during the day: {dict(watches)}; {others} requests that are of no job (leases, lists, claims)"


def requests_by_job(requests: Sequence[Note]) -> dict[str, Counter[str]]:
    """How often each verb was used on a job or on what belongs to it, by the job's name in theirs."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for request in requests:
        match = JOB_NAME.search(request["name"])
        if match is not None and request["resource"] != "events":
            found[match[0]][request["verb"]] += 1
    return found


def _tell_reactions(day: Day, deaths: Sequence[Death]) -> Iterator[str]:
    found = reactions(day, deaths)
    for name, kinds in (("that says why", OF_A_CAUSE), ("that does not (its peers are waited for)", ("killed",))):
        these = [each for each in found if each.kind in kinds]
        if not these:
            continue
        parts = {
            "in all": [each.seconds for each in these],
            "until the operator heard of it": [each.until_heard for each in these],
            "until its answer was sent": [each.until_sent for each in these],
            "until the API server had it": [each.until_answered for each in these],
        }
        lines = (f"{part} {_spread(values)}" for part, values in parts.items())
        yield f"reaction to {len(these)} deaths of a pod {name}: {'; '.join(lines)}"
    yield f"{len(deaths) - len(found)} of {len(deaths)} deaths met a gang that was being ended already"


def _spread(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return f"p50 {quantile(ordered, 0.5):.3f} s, p99 {quantile(ordered, 0.99):.3f} s, most {ordered[-1]:.3f} s"


def reactions(day: Day, deaths: Sequence[Death]) -> list[Reaction]:
    """Deaths that a status was written for, with the moments between."""
    heard = {(note["namespace"], note["name"], note["at"]) for note in day.notes["failed"]}
    by_pod: dict[tuple[str, str], list[float]] = defaultdict(list)
    for place, name, at in sorted(heard):
        by_pod[place, name].append(at)
    told: dict[str, list[float]] = defaultdict(list)
    for note in day.notes["restarted"]:
        told[note["name"]].append(note["at"])
    writes: dict[str, list[Note]] = defaultdict(list)
    for request in day.requests:
        if (request["verb"], request["subresource"], request["code"]) == ("update", "status", 200):
            writes[request["name"]].append(request)
    found = (_reaction(death, by_pod, told, writes) for death in deaths)
    return [each for each in found if each is not None]


def _reaction(
    death: Death,
    heard: dict[tuple[str, str], list[float]],
    told: dict[str, list[float]],
    writes: dict[str, list[Note]],
) -> Reaction | None:
    """One death; None where another's consequences had come before."""
    at = _next(heard[death.namespace, death.pod], death.at)
    done = _next(told[death.job], death.at)
    if at is None or done is None or done < at:
        return None
    answers = [stamp(request) for request in writes[death.job]]
    place = bisect_right(answers, done) - 1  # the answer that the operator had when it knew of the restart
    received = stamp({"at": writes[death.job][place]["received"]})
    return Reaction(death.kind, death.at, at - death.at, received - at, answers[place] - received)


def _next(moments: Sequence[float], after: float) -> float | None:
    """The first of some moments after another, and not long after it."""
    place = bisect_right(moments, after)
    return moments[place] if place < len(moments) and moments[place] - after < PATIENCE_SECONDS else None


def _tell_process(day: Day) -> Iterator[str]:
    samples = day.samples()
    lags = sorted(note["lag"] for note in samples)
    seconds = samples[-1]["at"] - samples[0]["at"]
    yield (
        f"event loop: late by {statistics.mean(note['lags'] for note in samples) * 1000:.1f} ms on average, at most a"
        f" second {_spread(lags)}"
    )
    used = samples[-1]["cpu"] - samples[0]["cpu"]
    lives = max(1, len(day.ended_lives()))
    yield f"CPU: {used:.0f} s in {seconds:.0f} s, {used / lives * 1000:.0f} ms a life that went"
    yield f"open files: at most {max(note['files'] for note in samples)}, of 1,024 that it was given"
