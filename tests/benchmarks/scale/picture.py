"""Draws a played day: memory, what is kept, requests, reactions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.bench_operator import stamp
from benchmarks.scale.figures import JOB_NAME, MIB, OF_A_CAUSE, Day, Reaction

HOURS = 24.0
BINS = 96
"""Of a day, a quarter of an hour each."""
KEPT = ("jobs", "trackers", "listeners", "timers", "pods")


def draw(day: Day, reactions: Sequence[Reaction], path: Path) -> None:
    """Write a PNG; hours are those of the simulated day."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    memory, kept, requests, answers = figure.subplots(2, 2).flat
    _draw_memory(memory, day)
    _draw_kept(kept, day)
    _draw_requests(requests, day)
    _draw_reactions(answers, day, reactions)
    for axes in (memory, kept, requests, answers):
        axes.set_xlabel("hour of the simulated day")
        axes.set_xticks(range(0, 25, 4))
        axes.axvspan(0, HOURS, color="0.96", zorder=0)
        axes.grid(visible=True, linewidth=0.3)
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})


def _hour(day: Day, moment: float) -> float:
    return (moment - day.began) / (day.ended - day.began) * HOURS


def _draw_memory(axes: Axes, day: Day) -> None:
    for name in ("rss", "pss"):
        notes = [note for note in day.notes["sample"] if name in note]
        hours = [_hour(day, note["at"]) for note in notes]
        axes.plot(hours, [note[name] / MIB for note in notes], linewidth=1, label=name.upper())
    axes.set_ylim(bottom=0)
    axes.set_title("memory of the operator, MiB", loc="left", fontsize=10)


def _draw_kept(axes: Axes, day: Day) -> None:
    notes = day.notes["sample"]
    hours = [_hour(day, note["at"]) for note in notes]
    for name in KEPT:
        axes.plot(hours, [note["kept"][name] for note in notes], linewidth=1, label=name)
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(bottom=0)
    axes.set_title("objects that it keeps", loc="left", fontsize=10)


def _draw_requests(axes: Axes, day: Day) -> None:
    """Requests a life that went in each half hour would jump; those a second show what the API server gets."""
    edges = np.linspace(day.began, day.ended, BINS + 1)
    hours = np.linspace(0, HOURS, BINS, endpoint=False)
    width = edges[1] - edges[0]
    for name, verbs in (
        ("create", {"create"}),
        ("delete", {"delete"}),
        ("status", {"update"}),
        ("read", {"get", "list"}),
    ):
        moments = [stamp(r) for r in day.requests if r["verb"] in verbs and JOB_NAME.search(r["name"])]
        counts, _ = np.histogram(moments, edges)
        axes.step(hours, counts / width, where="post", linewidth=1, label=name)
    axes.set_ylim(bottom=0)
    axes.set_title("requests on jobs and what belongs to them, a second", loc="left", fontsize=10)


def _draw_reactions(axes: Axes, day: Day, reactions: Sequence[Reaction]) -> None:
    for label, is_told in (("says why", True), ("does not: its peers are waited for", False)):
        these = [each for each in reactions if (each.kind in OF_A_CAUSE) == is_told]
        hours = [_hour(day, each.at) for each in these]
        axes.plot(hours, [each.seconds for each in these], ".", markersize=3, label=f"a death that {label}")
    axes.set_ylim(bottom=0)
    axes.set_title("from a pod's death to the status that tells of it, s", loc="left", fontsize=10)
