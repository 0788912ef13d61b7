"""Measurements become entries of the document."""

import numpy as np

from arcface_evaluator.metrics.roc import TarAtFar
from arcface_evaluator.protocols.templates import PoolingChoice
from arcface_evaluator.report.entries import ChoiceRates, intervals_of
from arcface_faces.scores import Scores, Subjects


def test_impostors_play_no_part_in_intervals():
    first = np.repeat(np.arange(30, dtype=np.int32) * 1000, 2)
    second = first + np.tile(np.array([1, 2], np.int32), 30)
    scores, everyone = np.random.default_rng(1).uniform(size=60), np.array([True] * 60 + [False] * 2)
    impostors = np.array([1, 2], np.int32), np.array([1001, 2001], np.int32)
    result = ChoiceRates(PoolingChoice(), [TarAtFar(0.1, 0.5, 0.5, 0.5)])
    sides = [np.append(side, other).astype(np.int32) for side, other in zip((first, second), impostors, strict=True)]
    genuine = Scores(scores, everyone[:60], subjects=Subjects.linked(first, second, everyone[:60]))
    both = Scores(np.append(scores, [9.0, 9.0]), everyone, subjects=Subjects.linked(*sides, everyone))
    assert intervals_of(result, both) == intervals_of(result, genuine)
