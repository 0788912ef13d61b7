"""Figures by their names, beside the same computed by hand."""

import numpy as np
import pytest

from arcface_evaluator.evaluation import evaluate
from arcface_evaluator.metrics import named
from arcface_evaluator.metrics.named import figure, obstacle
from arcface_evaluator.verifying import pairs_task
from arcface_faces.pairs.pair_set import read_pair_set
from arcface_faces.scores import Groups, Scores
from support.builders.verification_set import write_pairs

SCORE = np.array([0.9, 0.6, 0.3, 0.7, 0.6, 0.2, 0.1])
SAME = np.arange(7) < 3
GROUPS = Groups(("African", "U.S. Asian", "nobody"), np.array([0, 0, 1, 0, 0, 1, 1], np.int32))
SCORES = Scores(SCORE, SAME, SCORE > 0.5, GROUPS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc", (4 + 2.5 + 2) / 12),
        ("eer", 0.25 + 5 / 28),
        ("tar@1e-1", None),  # four impostors cannot tell
        ("fnmr@0.6", 1 / 3),
        ("fmr@0.6", 2 / 4),
        ("fmr@-1", 1.0),
        ("African.fnmr@0.65", 0.5),
        ("nobody.fmr@0.5", None),
        ("African.accuracy", 0.5),
        ("African.auc", (2 + 0.5) / 4),
        ("U.S. Asian.accuracy", 2 / 3),
        ("nobody.accuracy", None),
        ("Indian.accuracy", None),
    ],
)
def test_a_figure_by_its_name(name, expected):
    assert figure(SCORES, name) == (None if expected is None else pytest.approx(expected))
    decided = Scores(SCORE, SAME, SCORE > 0.5, GROUPS)
    assert (obstacle(name, decided.is_same, decided.groups) is None) == (expected is not None)


def test_the_accuracy_is_what_the_protocol_reports_and_that_of_a_group_the_share_of_its_pairs():
    assert figure(SCORES, "accuracy", 0.58) == 0.58
    assert figure(SCORES, "African.accuracy", 0.58) == 0.5
    assert figure(SCORES, "accuracy") is None


def test_what_gates_are_told_is_the_result_also_where_folds_differ_in_size(tmp_path):
    opened = read_pair_set(write_pairs(tmp_path / "odd.bin", pairs=25))
    embeddings = np.random.default_rng(1).standard_normal((50, 1, 8))
    task = pairs_task(opened, [], lambda: embeddings, ["odd.accuracy"])
    (done,) = evaluate([task], None)
    document = done.document
    assert document.sets[0].measured["odd.accuracy"] == document.results[0].accuracy
    assert document.results[0].accuracy == np.mean(document.details[0].folds)
    assert document.results[0].accuracy != pytest.approx(document.outcomes[0].is_right.mean())


def test_a_rate_by_its_name():
    scores = Scores(np.concatenate([[0.9, 0.4], np.linspace(0, 0.5, 100)]), np.arange(102) < 2)
    assert figure(scores, "tar@1e-1") == 0.5
    assert figure(scores, "tar@1.5e-1") == 0.5
    assert figure(scores, "tar@9e-1") == 1.0


@pytest.mark.parametrize("name", ["fnmr", "fnmr@", "tar", "f1", "tar@0.1", "African", "eer@1", ".eer", "fnmr@2"])
def test_what_gates_cannot_name_is_no_figure(name):
    with pytest.raises(ValueError, match=f"no figure is called {name}"):
        figure(SCORES, name)


def test_a_name_that_is_allowed_before_it_is_computed_gets_no_other_figure(monkeypatch):
    monkeypatch.setattr(named, "FIGURE", f"{named.FIGURE}|f9")
    with pytest.raises(KeyError, match="f9"):
        figure(SCORES, "f9")


@pytest.mark.parametrize("name", ["eer", "auc", "tar@1e-1", "fmr@0.5"])
def test_pairs_of_one_kind_have_no_curve(name):
    assert figure(Scores(SCORE, np.ones(7, bool)), name) is None
    assert figure(Scores(SCORE, SAME), "African.accuracy") is None
