"""Documents with outcomes are compared pair by pair; what is no outcome is refused in one line."""

import json

import numpy as np
import pytest

from arcface_api.command import run
from arcface_evaluator.metrics.dependence import Dependence
from arcface_evaluator.report.comparison import compare_runs
from arcface_evaluator.report.document import EvaluationFile
from arcface_evaluator.report.outcomes import Outcomes, outcomes_of
from arcface_evaluator.report.provenance import InputFile
from arcface_faces.scores import Scores, Subjects
from support.builders.verification_set import write_pairs


def document(right, dataset="lfw", figure="accuracy", sha256="0" * 64):
    scores = Scores(np.zeros(len(right)), np.array(right))
    everyone = Dependence.of(scores, np.ones(len(right), np.bool_))
    return EvaluationFile(
        inputs=[InputFile(path=f"{dataset}.bin", sha256=sha256)],
        outcomes=[Outcomes.of(dataset, figure, everyone, np.array(right))],
    )


@pytest.mark.parametrize("pairs", [1, 7, 8, 9, 6000])
def test_outcomes_come_back_bit_by_bit(pairs):
    right = np.random.default_rng(pairs).uniform(size=pairs) < 0.5
    written = document(right).to_json()
    assert EvaluationFile.from_json(written, "a.json").outcomes[0].is_right.tolist() == right.tolist()


def test_runs_are_compared_with_the_first():
    runs = {"a": document([True, False] * 10), "b": document([True] * 20), "c": document([False] * 20)}
    of_b, of_c = compare_runs(runs)
    assert (of_b.first, of_b.second, of_b.test.only_second, of_b.test.only_first) == ("a", "b", 10, 0)
    assert (of_b.verdict, of_c.verdict) == ("b is better", "a is better")


def test_figures_that_only_one_has_are_passed_over():
    assert list(compare_runs({"a": document([True]), "b": document([True], figure="tar@1e-4")})) == []


def test_genuine_pairs_are_kept_at_each_rate_with_what_they_tell():
    first = np.repeat(np.arange(10, dtype=np.int32), 2)
    is_same = np.arange(40) < 20
    sides = np.concatenate([first, np.zeros(20, np.int32)]), np.concatenate([first, np.ones(20, np.int32)])
    score = np.where(is_same, np.repeat(np.arange(20) % 10 < 5, 2)[np.arange(40) % 20], np.linspace(0.1, 0.3, 40))
    scores = Scores(score, is_same, subjects=Subjects(*sides, np.arange(10, dtype=np.int32)))
    rates = [type("Rate", (), {"far": 0.1, "threshold": 0.5})(), type("Rate", (), {"far": 1e-3, "threshold": None})()]
    (kept,) = outcomes_of("IJBC", scores, rates)
    assert (kept.figure, kept.pairs, kept.effect) == ("tar@1e-1", 20, 2.0)
    assert kept.is_right.tolist() == (score[:20] >= 0.5).tolist()


@pytest.mark.parametrize("changed", [{"pairs": 25}, {"right": "?"}, {"right": "AAAA" * 1000}, {"effect": 0}])
def test_outcomes_that_are_none_are_one_line(tmp_path, capsys, changed):
    written = json.loads(document([True] * 20).to_json())
    written["outcomes"][0] |= changed
    (tmp_path / "a.json").write_text(json.dumps(written))
    assert run(["evaluate", "compare", str(tmp_path / "a.json"), "--report", str(tmp_path / "page")]) == 2
    said = capsys.readouterr().err
    assert (said.count("\n"), "a.json" in said) == (1, True)


def test_other_numbers_of_pairs_cannot_be_compared(tmp_path, capsys):
    for name, pairs in (("a", 20), ("b", 30)):
        (tmp_path / f"{name}.json").write_text(document([True] * pairs).to_json())
    assert run(["evaluate", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "20 pairs in a but 30 in b" in capsys.readouterr().err


def test_two_evaluations_tell_who_is_better_without_a_page(tmp_path, capsys):
    path = write_pairs(tmp_path / "small.bin", pairs=20)
    random, apart = np.random.default_rng(0), np.eye(40, 64, dtype=np.float32)
    good = apart.copy()
    good[0::4] = good[1::4]  # even pairs show one person
    for name, rows in {"good": good, "bad": random.standard_normal((40, 64)).astype(np.float32)}.items():
        np.save(tmp_path / f"{name}.npy", rows)
        words = ["--embeddings", tmp_path / f"{name}.npy", "--bin", path, "--json", tmp_path / f"{name}.json"]
        with pytest.raises(SystemExit, match="0"):
            run(["evaluate", "pairs", *map(str, words)])
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "compare", str(tmp_path / "bad.json"), str(tmp_path / "good.json")])
    printed = capsys.readouterr().out
    assert "good is" in printed
    assert "better" in printed
    assert run(["evaluate", "compare", str(tmp_path / "bad.json")]) == 2
    assert "hold no outcomes of the same sets" in capsys.readouterr().err
