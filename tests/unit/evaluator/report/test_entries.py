"""Measurements become entries of the document."""

import numpy as np

from arcface_evaluator.metrics import TarAtFar
from arcface_evaluator.protocols.template_pairs import TemplatePairs
from arcface_evaluator.protocols.templates import PoolingChoice
from arcface_evaluator.report.entries import ChoiceRates, intervals_of


def test_impostors_play_no_part_in_intervals():
    first = np.repeat(np.arange(30, dtype=np.int32) * 1000, 2)
    second = first + np.tile(np.array([1, 2], np.int32), 30)
    genuine = TemplatePairs(first, second, np.ones(60, dtype=bool))
    scores = np.random.default_rng(1).uniform(size=60)
    everything = TemplatePairs(
        np.concatenate([genuine.first, [1, 2]]).astype(np.int32),
        np.concatenate([genuine.second, [1001, 2001]]).astype(np.int32),
        np.array([True] * 60 + [False] * 2),
    )
    result = ChoiceRates(PoolingChoice(), [TarAtFar(0.1, 0.5, 0.5, 0.5)])
    assert intervals_of(result, np.append(scores, [9.0, 9.0]), everything) == intervals_of(result, scores, genuine)
