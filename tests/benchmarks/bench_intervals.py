"""How often 95 % intervals hold the truth, by simulation: `python bench_intervals.py [REPETITIONS]` prints a table.

Scores are normal numbers, so that the true rates are known in closed form. Where persons are shared, each adds a number
of its own to all scores of its pairs. The last line is the time that the intervals take at IJB-C's size.
"""

import sys
import time
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from arcface_evaluator.metrics.intervals import accuracy_interval, tar_intervals
from arcface_evaluator.metrics.roc import tar_at_far
from arcface_faces.pairs.protocol import fold_accuracy
from arcface_faces.scores import Scores, Subjects

REPETITIONS = 1000
NORMAL = NormalDist()
ENOUGH = 0.93
SHARED = 0.4
"""Standard deviation of what a person adds to the scores of its pairs; that of the scores is 1."""
Trial = tuple[float, float, float]
"""Lower end, upper end, truth."""


def rate_trials(beyond: int, far: float, random: np.random.Generator) -> Iterator[Trial]:
    """TAR at a FAR that `beyond` impostors are expected to exceed, of 2,000 genuine pairs of strangers."""
    impostors, genuine, shift = round(beyond / far), 2000, 3.0
    is_same = np.arange(genuine + impostors) < genuine
    truth = 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - far) - shift)
    while True:
        scores = Scores(random.standard_normal(len(is_same)) + shift * is_same, is_same)
        (interval,) = tar_intervals(scores, tar_at_far(scores, [far])).values()
        yield *interval, truth


def shared_trials(persons: int, far: float, random: np.random.Generator) -> Iterator[Trial]:
    """The same where every person's template meets ten probes of its own, and three of each other person."""
    shift, own, other = 3.0, 10, 3
    one, two = (side.astype(np.int32) for side in np.nonzero(~np.eye(persons, dtype=bool)))
    first = np.concatenate([np.repeat(np.arange(persons, dtype=np.int32), own), np.repeat(one, other)])
    second = np.concatenate([np.repeat(np.arange(persons, dtype=np.int32), own), np.repeat(two, other)])
    is_same = first == second
    subjects = Subjects(first, second, np.arange(persons, dtype=np.int32))
    rest = np.where(is_same, np.sqrt(1 - SHARED**2), np.sqrt(1 - 2 * SHARED**2))
    truth = 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - far) - shift)
    while True:
        drawn = SHARED * random.standard_normal(persons)
        alike = np.where(is_same, SHARED * random.standard_normal(persons)[first], drawn[first] + drawn[second])
        score = shift * is_same + alike + rest * random.standard_normal(len(first))
        scores = Scores(score, is_same, subjects=subjects)
        (interval,) = tar_intervals(scores, tar_at_far(scores, [far])).values()
        yield *interval, truth


def accuracy_trials(pairs: int, accuracy: float, random: np.random.Generator) -> Iterator[Trial]:
    """Accuracy in ten folds, where the best of all thresholds has the given one."""
    while True:
        yield *accuracy_interval(_judged(pairs, accuracy, random)), accuracy


def procedure_trials(pairs: int, accuracy: float, random: np.random.Generator) -> Iterator[Trial]:
    """The same beside what ten folds find on average, which is less: their thresholds are chosen on few pairs."""
    truth = float(np.mean([_judged(pairs, accuracy, random).is_right.mean() for _ in range(REPETITIONS)]))
    while True:
        yield *accuracy_interval(_judged(pairs, accuracy, random)), truth


def _judged(pairs: int, accuracy: float, random: np.random.Generator) -> Scores:
    is_same, apart = np.arange(pairs) % 2 == 0, -NORMAL.inv_cdf(1 - accuracy)
    distances = np.clip(2 + 0.25 * (random.standard_normal(pairs) - np.where(is_same, apart, -apart)), 0, 4)
    chosen = fold_accuracy(distances, is_same).threshold_of_pairs(pairs)
    return Scores(-distances, is_same, is_accepted=distances < chosen)


def print_coverage(name: str, trials: Iterator[Trial], repetitions: int) -> bool:
    """A row of the table; whether the interval holds often enough."""
    lows, highs, truths = np.array([next(trials) for _ in range(repetitions)]).T
    covered = np.mean((lows <= truths) & (truths <= highs))
    print(f"| {name} | {truths[0]:.4f} | {covered:.1%} | {np.mean(highs - lows):.4f} |", flush=True)
    return bool(covered >= ENOUGH)


def print_time() -> None:
    """Intervals at six rates with the sizes of IJB-C: 3,531 persons, 23,124 templates."""
    random = np.random.default_rng(0)
    persons, templates, pairs, genuine = 3_531, 23_124, 15_658_489, 19_557
    subject = (np.arange(templates) % persons).astype(np.int32)
    first = random.integers(0, persons, pairs, dtype=np.int32)
    second = random.integers(persons, templates, pairs, dtype=np.int32)
    second[:genuine] = persons + np.arange(genuine)
    first[:genuine] = subject[second[:genuine]]
    is_same = np.arange(pairs) < genuine
    scores = Scores(random.standard_normal(pairs) + 4 * is_same, is_same, subjects=Subjects(first, second, subject))
    rates, began, used = tar_at_far(scores), time.perf_counter(), time.process_time()
    tar_intervals(scores, rates)
    print(f"{pairs} pairs: {time.perf_counter() - began:.1f} s, {time.process_time() - used:.1f} s of a core")


def main() -> None:
    repetitions, random = int(sys.argv[1]) if len(sys.argv) > 1 else REPETITIONS, np.random.default_rng(0)
    print("| figure | truth | held by | mean width |\n| --- | --- | --- | --- |")
    rows = {
        **{
            f"TAR at FAR {far:g}, {beyond} impostors beyond": rate_trials(beyond, far, random)
            for beyond, far in ((8, 1e-3), (10, 1e-3), (100, 1e-2), (1000, 1e-1))
        },
        **{
            f"TAR at FAR {far:g}, {persons} persons who share {3 * persons * (persons - 1)} impostors": shared_trials(
                persons, far, random
            )
            for persons, far in ((60, 1e-3), (60, 1e-2), (200, 1e-3))
        },
        **{
            f"accuracy of {pairs} pairs, {name} {accuracy:g}": trials(pairs, accuracy, random)
            for pairs, accuracy in ((40, 0.9), (40, 0.99), (100, 0.95), (600, 0.95), (600, 0.99), (6000, 0.998))
            for name, trials in (
                ("the best threshold's", accuracy_trials),
                ("mean of ten folds near", procedure_trials),
            )
        },
    }
    held = [print_coverage(name, trials, repetitions) for name, trials in rows.items()]
    print_time()
    if not all(held):
        sys.exit(f"an interval holds the truth in less than {ENOUGH:.0%}")


if __name__ == "__main__":
    main()
