"""Measurements become entries of the document."""

import numpy as np

from arcface_evaluator.metrics.roc import tar_at_far
from arcface_evaluator.protocols.templates import PoolingChoice
from arcface_evaluator.report.entries import ChoiceRates, intervals_of, rates_of
from arcface_faces.scores import Scores


def test_rates_and_intervals_are_called_by_the_same_names():
    is_same = np.arange(2020) < 20
    scores = Scores(np.where(is_same, 1.0, np.linspace(0, 0.5, 2020)), is_same)
    result = ChoiceRates(PoolingChoice(), tar_at_far(scores))
    entry = rates_of("IJBC", result, intervals_of(result.rates, scores))
    assert list(entry.intervals) == list(entry.nearest) == list(entry.published) == ["1e-3", "1e-2", "1e-1"]
    assert entry.unresolved == ["1e-6", "1e-5", "1e-4"]
