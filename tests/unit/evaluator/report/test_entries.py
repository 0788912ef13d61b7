"""Measurements become entries of the document."""

import numpy as np
import pytest

from arcface_evaluator.metrics.roc import tar_at_far
from arcface_evaluator.protocols.templates import PoolingChoice
from arcface_evaluator.report import entries
from arcface_evaluator.report.entries import ChoiceRates, intervals_of, rates_of
from arcface_evaluator.report.figures import Measured
from arcface_faces.pairs.protocol import verify
from arcface_faces.scores import Groups, Scores


def test_rates_and_intervals_are_called_by_the_same_names():
    is_same = np.arange(2020) < 20
    scores = Scores(np.where(is_same, 1.0, np.linspace(0, 0.5, 2020)), is_same)
    result = ChoiceRates(PoolingChoice(), tar_at_far(scores))
    entry = rates_of("IJBC", result, intervals_of(result.rates, Measured.of(scores)))
    assert list(entry.intervals) == list(entry.nearest) == list(entry.published) == ["1e-3", "1e-2", "1e-1"]
    assert entry.unresolved == ["1e-6", "1e-5", "1e-4"]


@pytest.mark.parametrize(("wrong", "marked"), [((), []), ((0,), ["A"]), ((0, 2), []), ((0, 2, 4), ["A"])])
def test_a_line_names_the_worst_group_where_one_is_alone_the_worst(wrong, marked):
    """One person or two in turns, groups in turns of two pairs; wrong pairs of one person look like two."""
    embeddings = np.eye(64, 80, dtype=np.float32)[:, None, :].copy()
    embeddings[::4] = embeddings[1::4]
    for pair in wrong:
        embeddings[2 * pair] = np.eye(80, dtype=np.float32)[70]
    codes = np.arange(32, dtype=np.int32) // 2 % 2
    found = verify("rfw", embeddings, np.arange(32) % 2 == 0, Groups(("A", "B"), codes))
    lines = [line for line in entries.lines_of(found) if line.endswith(", the worst group")]
    assert [line.split(":")[0] for line in lines] == [f"[rfw]{name}" for name in marked]


@pytest.mark.parametrize("block", [3, 100, 1 << 20])
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_hardest_pairs_are_the_ends_of_both_kinds_and_of_equal_scores_the_first(monkeypatch, block, decimals):
    monkeypatch.setattr(entries, "BLOCK", block)
    random = np.random.default_rng(3)
    scores = Scores(random.normal(0, 1, 500).round(decimals), random.random(500) < 0.3)
    alike, different = entries.hardest_pairs("set", scores, lambda number, _: entries.HardPair(str(number), ()))
    listed = list(zip(scores.score.tolist(), range(500), scores.is_same.tolist(), strict=True))
    lowest = sorted((score, number) for score, number, same in listed if same)[: entries.SHOWN]
    highest = sorted((-score, number) for score, number, same in listed if not same)[: entries.SHOWN]
    assert [pair.caption for pair in alike.pairs] == [str(number) for _, number in lowest]
    assert [pair.caption for pair in different.pairs] == [str(number) for _, number in highest]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_histograms_count_each_pair_of_each_kind_in_the_bin_that_it_lies_in(kind):
    random = np.random.default_rng(4)
    scores = Scores(random.normal(0, 1, 3000).astype(kind), random.random(3000) < 0.3)
    curves = entries.curves_of("set", "cosine", Measured.of(scores))
    width = (curves.highest - curves.lowest) / entries.BINS
    for counted, is_of_kind in ((curves.genuine, scores.is_same), (curves.impostors, ~scores.is_same)):
        expected = [0] * entries.BINS
        for score in scores.score[is_of_kind].tolist():
            expected[min(int((score - curves.lowest) / width), entries.BINS - 1)] += 1
        assert counted == expected
