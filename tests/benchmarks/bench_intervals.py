"""How often 95 % intervals hold the truth, and how often equal models are called different, by simulation.

`python bench_intervals.py [REPETITIONS]` prints a table of each.

Scores are normal numbers, so that the true rates are known in closed form. Where persons are shared, each adds a number
of its own to all scores of its pairs. The last line is the time that the intervals take at IJB-C's size.
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import NormalDist

import numpy as np

from arcface_evaluator.metrics.intervals import accuracy_interval, tar_intervals
from arcface_evaluator.metrics.roc import tar_at_far
from arcface_evaluator.report.comparison import Comparison, compare_runs, comparisons_of
from arcface_faces.pairs.protocol import fold_accuracy
from arcface_faces.scores import Scores, Subjects

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.builders.evaluated import evaluated

REPETITIONS = 1000
MOST_COMPARISONS = 300
"""Repetitions of what takes as long as several intervals."""
MOST_CALLED = 0.07
COMPARISON_HEADINGS = "| figure | equal models called different | truly better by | found | its interval holds |"
NORMAL = NormalDist()
ENOUGH = 0.93
SHARED = 0.4
"""Standard deviation of what a person adds to the scores of its pairs; that of the scores is 1."""
Part = tuple[float, float]
"""Variance that persons add to scores, and what is drawn for each pair."""
Trial = tuple[float, float, float]
"""Lower end, upper end, truth."""
PERSONS: dict[str, tuple[Part, Part]] = {
    "hard for both models": ((0.3, 0.4), (0.0, 0.3)),
    "hard for one or both": ((0.15, 0.4), (0.25, 0.2)),
    "hard for one model": ((0.0, 0.6), (0.3, 0.1)),
}
"""What two models have in common, and what each has of its own."""
Trials = Iterator[tuple[Comparison, float | None]]
"""Comparisons of two models, with the difference in truth where it is known."""


def rate_trials(beyond: int, far: float, random: np.random.Generator) -> Iterator[Trial]:
    """TAR at a FAR that `beyond` impostors are expected to exceed, of 2,000 genuine pairs of strangers."""
    impostors, genuine, shift = round(beyond / far), 2000, 3.0
    is_same = np.arange(genuine + impostors) < genuine
    truth = 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - far) - shift)
    while True:
        scores = Scores(random.standard_normal(len(is_same)) + shift * is_same, is_same)
        (found,) = tar_intervals(scores, tar_at_far(scores, [far])).values()
        yield found.low, found.high, truth


def shared_trials(persons: int, far: float, random: np.random.Generator) -> Iterator[Trial]:
    """The same where every person's template meets ten probes of its own, and three of each other person."""
    shift, subjects = 3.0, _meetings(persons)
    is_same = subjects.first == subjects.second
    truth = 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - far) - shift)
    while True:
        scores = Scores(shift * is_same + _shared_noise(subjects, random), is_same, subjects=subjects)
        (found,) = tar_intervals(scores, tar_at_far(scores, [far])).values()
        yield found.low, found.high, truth


def uneven_trials(pairs: np.ndarray, far: float) -> Iterator[Trial]:
    """The same where persons have unequal numbers of genuine pairs, and half of the scores' variance is theirs."""
    random, shift, subjects = np.random.default_rng(0), 3.0, _meetings(len(pairs), pairs)
    is_same = subjects.first == subjects.second
    truth = 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - far) - shift)
    while True:
        scores = Scores(shift * is_same + _person_noise(subjects, 0.5, 0.5, random), is_same, subjects=subjects)
        (found,) = tar_intervals(scores, tar_at_far(scores, [far])).values()
        yield found.low, found.high, truth


def _pairs_of_persons(weights: np.ndarray) -> np.ndarray:
    """Genuine pairs of each person, ten on average."""
    return np.maximum(1, np.rint(10 * len(weights) * weights / weights.sum())).astype(np.int64)


def _zipf(persons: int) -> np.ndarray:
    return _pairs_of_persons(1 / np.arange(1, persons + 1))


def _lognormal(persons: int) -> np.ndarray:
    """By the quantiles of a normal logarithm of deviation 1."""
    return _pairs_of_persons(np.exp([NORMAL.inv_cdf((rank + 0.5) / persons) for rank in range(persons)]))


def _meetings(persons: int, own: int | np.ndarray = 10) -> Subjects:
    other = 3
    one, two = (side.astype(np.int32) for side in np.nonzero(~np.eye(persons, dtype=bool)))
    first = np.concatenate([np.repeat(np.arange(persons, dtype=np.int32), own), np.repeat(one, other)])
    second = np.concatenate([np.repeat(np.arange(persons, dtype=np.int32), own), np.repeat(two, other)])
    return Subjects(first, second, np.arange(persons, dtype=np.int32))


def _shared_noise(subjects: Subjects, random: np.random.Generator) -> np.ndarray:
    """(P,) numbers of variance 1, of which persons add a part."""
    first, second, persons = subjects.first, subjects.second, len(subjects.subject)
    rest = np.where(first == second, np.sqrt(1 - SHARED**2), np.sqrt(1 - 2 * SHARED**2))
    drawn = SHARED * random.standard_normal(persons)
    alike = np.where(first == second, SHARED * random.standard_normal(persons)[first], drawn[first] + drawn[second])
    return alike + rest * random.standard_normal(len(first))


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
    return _in_folds(random.standard_normal(pairs), accuracy)


def _in_folds(noise: np.ndarray, accuracy: float) -> Scores:
    pairs = len(noise)
    is_same, apart = np.arange(pairs) % 2 == 0, -NORMAL.inv_cdf(1 - accuracy)
    distances = np.clip(2 + 0.25 * (noise - np.where(is_same, apart, -apart)), 0, 4)
    chosen = fold_accuracy(distances, is_same).threshold_of_pairs(pairs)
    return Scores(-distances, is_same, is_accepted=distances < chosen)


def rate_comparisons(
    genuine: int, impostors: int, far: float, gap: float, alike: float, random: np.random.Generator
) -> Trials:
    """Two models on the same pairs of strangers, whose errors have a correlation; the other's genuine pairs score more.

    Beside each comparison the difference in truth.
    """
    is_same = np.arange(genuine + impostors) < genuine
    common, own = (
        lambda share=share: np.sqrt(share) * random.standard_normal(len(is_same)) for share in (alike, 1 - alike)
    )
    yield from _compared(is_same, None, far, gap, common, own)


def shared_comparisons(
    meetings: tuple[int, int], far: float, gap: float, parts: tuple[Part, Part], random: np.random.Generator
) -> Trials:
    """The same on pairs that share persons: what both models have in common, and what each has of its own.

    Where persons take part in the latter, one model is better for some of them and worse for others.
    """
    subjects = _meetings(*meetings)
    is_same = subjects.first == subjects.second
    common, own = (partial(_person_noise, subjects, *part, random) for part in parts)
    yield from _compared(is_same, subjects, far, gap, common, own)


def _person_noise(subjects: Subjects, persons: float, rest: float, random: np.random.Generator) -> np.ndarray:
    """(P,) numbers whose variance is that of persons, half of it of each side of an impostor, and the rest."""
    first, second = subjects.first, subjects.second
    drawn, other = np.sqrt([[persons], [persons / 2]]) * random.standard_normal((2, len(subjects.subject)))
    alike = np.where(first == second, drawn[first], other[first] + other[second])
    return alike + np.sqrt(rest) * random.standard_normal(len(first))


def _compared(
    is_same: np.ndarray,
    subjects: Subjects | None,
    far: float,
    gap: float,
    common: Callable[[], np.ndarray],
    own: Callable[[], np.ndarray],
) -> Trials:
    shifts = (3.0, 3.0 + gap)
    one, other = (1 - NORMAL.cdf(NORMAL.inv_cdf(1 - far) - shift) for shift in shifts)
    while True:
        both = common()
        runs = [evaluated(Scores(both + own() + shift * is_same, is_same, subjects=subjects), fars=(far,))
                for shift in shifts]  # fmt: skip
        (comparison,) = comparisons_of(compare_runs(dict(zip(("first", "second"), runs, strict=True))))
        yield comparison, other - one


def fold_comparisons(pairs: int, accuracies: tuple[float, float], alike: float, random: np.random.Generator) -> Trials:
    """Accuracies in ten folds, each model with thresholds of its own; in truth they differ as they do on average."""
    while True:
        common = np.sqrt(alike) * random.standard_normal(pairs)
        runs = [
            evaluated(_in_folds(common + np.sqrt(1 - alike) * random.standard_normal(pairs), accuracy), fars=(0.1,))
            for accuracy in accuracies
        ]
        found = compare_runs(dict(zip(("first", "second"), runs, strict=True)))
        yield next(each for each in comparisons_of(found) if each.figure == "accuracy"), None


def print_comparisons(name: str, equal: Trials, better: Trials, repetitions: int) -> bool:
    """A row of the table; whether few equal models are called different, and the interval holds often enough."""
    called = np.mean([each.test.verdict != "undecided" for each, _ in islice(equal, repetitions)])
    found, (known, *_) = zip(*islice(better, repetitions), strict=True)
    truth = float(np.mean([each.test.difference for each in found])) if known is None else known
    power = np.mean([each.test.verdict == "second" for each in found])
    held = np.mean([low <= truth <= high for low, high in (each.test.interval for each in found)])
    print(f"| {name} | {called:.1%} | {truth:+.4f} | {power:.1%} | {held:.1%} |", flush=True)
    return bool(called <= MOST_CALLED and held >= ENOUGH)


def comparisons() -> dict[str, tuple[Trials, Trials]]:
    """Of equal models and with a better one, by what is compared; each row draws from the same seed."""

    def drawn(trials: Callable[..., Trials], *options: object) -> Trials:
        return trials(*options, random=np.random.default_rng(0))

    rates = ((2000, 10_000, 1e-3, 0.5, 0.0), (2000, 10_000, 1e-3, 0.5, 0.7), (3000, 3_000, 1e-3, 0.5, 0.7),
             (2000, 10_000, 1e-2, 0.3, 0.0), (2000, 10_000, 1e-1, 0.2, 0.7))  # fmt: skip
    folds = ((100, 0.8, 0.95, 0.7), (600, 0.9, 0.95, 0.0), (600, 0.9, 0.95, 0.7), (6000, 0.99, 0.995, 0.7))
    return {
        **{
            f"TAR at FAR {far:g}, {genuine} and {impostors} pairs, correlation {alike:g}": (
                rate_comparisons(genuine, impostors, far, 0.0, alike, random),
                rate_comparisons(genuine, impostors, far, gap, alike, random),
            )
            for genuine, impostors, far, gap, alike, random in ((*row, np.random.default_rng(0)) for row in rates)
        },
        **{
            f"TAR at FAR {far:g}, {persons} persons of {each} pairs, {kind}": (
                drawn(shared_comparisons, (persons, each), far, 0.0, parts),
                drawn(shared_comparisons, (persons, each), far, gap, parts),
            )
            for persons, each, far, gap in (
                (60, 10, 1e-2, 0.5),
                (60, 100, 1e-2, 0.5),
                (60, 100, 1e-1, 0.3),
                (200, 10, 1e-3, 0.5),
            )
            for kind, parts in PERSONS.items()
        },
        **{
            f"accuracy of {pairs} pairs, {one:g}, correlation {alike:g}": (
                drawn(fold_comparisons, pairs, (one, one), alike),
                drawn(fold_comparisons, pairs, (one, other), alike),
            )
            for pairs, one, other, alike in folds
        },
    }


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
            f"TAR at FAR {far:g}, {persons} persons of {kind} numbers of pairs": uneven_trials(counts(persons), far)
            for kind, counts, persons, far in (
                ("Zipf's", _zipf, 60, 1e-1),
                ("Zipf's", _zipf, 100, 1e-1),
                ("Zipf's", _zipf, 60, 1e-2),
                ("lognormal", _lognormal, 100, 1e-1),
                ("lognormal", _lognormal, 200, 1e-1),
            )
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
    print(f"\n{COMPARISON_HEADINGS}\n| --- | --- | --- | --- | --- |")
    fair = [
        print_comparisons(name, *trials, min(repetitions, MOST_COMPARISONS)) for name, trials in comparisons().items()
    ]
    print_time()
    if not all(held):
        sys.exit(f"an interval holds the truth in less than {ENOUGH:.0%}")
    if not all(fair):
        sys.exit(f"more than {MOST_CALLED:.0%} of equal models are called different, or an interval holds too seldom")


if __name__ == "__main__":
    main()
