"""Plots of evaluations, by where their texts stand."""

import re

import numpy as np
import pytest

from arcface_evaluator.report.document import ScoreCurves
from arcface_evaluator.report.figures import OperatingPoint
from arcface_evaluator.report.pages.evaluation_plots import histogram_plot

DIGIT = 0.636 * 8
"""Points that a digit of DejaVu Sans is wide at the size of the labels."""


def labels_of(thresholds):
    """Names of the operating points that are told, and where their middles are, by thresholds of falling rates."""
    curves = ScoreCurves(dataset="IJBC", protocol="cosine", fpr=[0, 1], tpr=[0, 1], lowest=-0.4, highest=1.0,
                         genuine=[1] * 100, impostors=[1] * 100)  # fmt: skip
    points = [OperatingPoint(far=10.0**-place, threshold=each) for place, each in enumerate(thresholds, start=1)]
    svg = histogram_plot("scores", curves, points).svg
    return re.findall(r"<text[^>]* x=.([\d.]+)[^>]*>(1e-\d)</text>", svg)


@pytest.mark.parametrize("apart", [0.02, 0.05, 0.09, 0.12])
def test_labels_of_thresholds_do_not_overlap(apart):
    found = [(float(place), name) for place, name in labels_of(0.1 + apart * np.arange(6))]
    assert found[0][1] == "1e-6"
    assert np.all(-np.diff([place for place, _ in found]) > 4 * DIGIT)


def test_thresholds_that_are_far_apart_have_a_label_each():
    assert [name for _, name in labels_of([0.1, 0.23, 0.36, 0.49])] == ["1e-4", "1e-3", "1e-2", "1e-1"]
