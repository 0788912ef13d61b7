"""Documents with outcomes are compared pair by pair; what is no outcome is refused in one line."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from arcface_api.command import run
from arcface_api.errors import InvalidInput
from arcface_evaluator.metrics.dependence import Dependence
from arcface_evaluator.metrics.paired import paired_test
from arcface_evaluator.metrics.roc import tar_at_far
from arcface_evaluator.report.comparison import compare_runs, comparison_table, comparisons_of, notes
from arcface_evaluator.report.document import EvaluationFile, read_all
from arcface_evaluator.report.outcomes import MOST_FALSE_ACCEPTS, Outcomes, outcomes_of
from arcface_evaluator.report.provenance import InputFile, PairProtocol, SetRecord
from arcface_evaluator.report.searches import AllPairsRates, IdentificationProtocol
from arcface_faces.pairs.protocol import fold_accuracy
from arcface_faces.scores import Scores, Subjects
from support.builders.evaluated import evaluated
from support.builders.verification_set import write_pairs


def document(right, dataset="lfw", figure="accuracy"):
    scores = Scores(np.zeros(len(right)), np.array(right))
    everyone = Dependence.of(scores, np.ones(len(right), np.bool_))
    return EvaluationFile(
        inputs=[InputFile(path=f"{dataset}.bin", sha256="0" * 64)],
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


def test_figures_that_only_one_has_are_named():
    runs = {"a": document([True]), "b": document([True], figure="tar@1e-4"), "c": document([True], dataset="cfp")}
    assert notes(compare_runs(runs)) == [
        "Not compared: lfw accuracy: b holds no outcomes of it.",
        "Not compared: lfw tar@1e-4: a holds no outcomes of it.",
        "Not compared: lfw accuracy: c has not judged the set.",
        "Not compared: cfp accuracy: a has not judged the set.",
    ]


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
    assert kept.false_accept_numbers.tolist() == []
    assert kept.person_counts.genuine.tolist() == [2] * 10
    assert kept.person_counts.accepted.tolist() == [2] * 5 + [0] * 5
    assert kept.person_counts.false_accepts.tolist() == [0] * 10


def test_false_accepts_count_for_both_their_persons():
    first, second = np.array([0, 1, 2, 0, 1, 0], np.int32), np.array([0, 1, 2, 2, 2, 1], np.int32)
    scores = Scores(np.array([0.9, 0.8, 0.1, 0.7, 0.6, 0.2]), first == second,
                    subjects=Subjects(first, second, np.array([4, 0, 9], np.int32)))  # fmt: skip
    (kept,) = outcomes_of("IJBC", scores, [type("Rate", (), {"far": 0.5, "threshold": 0.5})()])
    assert kept.person_counts.genuine.tolist() == [1, 1, 1]
    assert kept.person_counts.accepted.tolist() == [1, 1, 0]  # in the order of the persons' numbers 0, 4, 9
    assert kept.person_counts.false_accepts.tolist() == [1, 1, 2]


def test_false_accepts_are_kept_by_their_numbers_some_where_they_are_many():
    is_same, score = np.arange(200_000) < 1000, np.random.default_rng(0).uniform(size=200_000)
    rates = tar_at_far(Scores(score, is_same), [1e-3, 0.1])
    few, many = outcomes_of("IJBC", Scores(score, is_same), rates)
    impostors = np.arange(200_000)[~is_same]
    assert few.false_accept_numbers.tolist() == impostors[score[~is_same] >= rates[0].threshold].tolist()
    every_fourth = impostors[(impostors % 4 == 0) & (score[~is_same] >= rates[1].threshold)]
    assert many.false_accept_numbers.tolist() == every_fourth.tolist()
    assert MOST_FALSE_ACCEPTS < len(every_fourth) < 2 * MOST_FALSE_ACCEPTS


def runs_of(gap, random):
    """Two models whose errors are half the same; ten impostors are beyond the threshold."""
    is_same, common = np.arange(1300) < 300, random.standard_normal(1300)
    scores = [common + random.standard_normal(1300) + 4.2 * is_same + shift * is_same for shift in (0, gap)]
    return {name: evaluated(Scores(score, is_same), fars=(1e-2,)) for name, score in zip("ab", scores, strict=True)}


def test_equal_models_whose_thresholds_are_luck_are_seldom_called_different():
    random, called, alone = np.random.default_rng(0), 0, 0
    for _ in range(40):
        runs = runs_of(0, random)
        (found,) = compare_runs(runs)
        called += found.test.verdict != "undecided"
        one, other = (run.outcomes[0].is_right for run in runs.values())
        alone += paired_test(one, other).verdict != "undecided"
    assert called <= 4
    assert alone >= 10  # McNemar's test by itself


def test_a_better_model_is_found_though_thresholds_are_luck():
    random = np.random.default_rng(0)
    assert sum(next(compare_runs(runs_of(1.2, random))).test.verdict == "second" for _ in range(20)) >= 18


def folds_of(gap, random):
    """Two models with errors that are much the same, each judged in ten folds by thresholds of its own."""
    is_same, common = np.arange(600) % 2 == 0, 0.97 * random.standard_normal(600)
    for shift in (0.5, 0.5 + gap):
        score = common + 0.22 * random.standard_normal(600) + np.where(is_same, shift, -shift)
        distances = np.clip(2 - 0.25 * score, 0, 4)
        yield (distances < fold_accuracy(distances, is_same).threshold_of_pairs(600)) == is_same


def test_equal_models_whose_folds_share_the_luck_of_thresholds_are_seldom_called_different():
    random, held, called, alone = np.random.default_rng(0), 0, 0, 0
    for _ in range(100):
        one, other = folds_of(0, random)
        (found,) = compare_runs({"a": document(one), "b": document(other)})
        called += found.test.verdict != "undecided"
        held += found.test.interval[0] <= 0 <= found.test.interval[1]
        alone += paired_test(one, other).verdict != "undecided"
    assert called <= 7
    assert held >= 93
    assert alone >= 12  # McNemar's test by itself


def test_a_better_model_is_found_though_folds_share_the_luck_of_thresholds():
    random, found = np.random.default_rng(0), 0
    for _ in range(20):
        one, other = folds_of(0.4, random)
        found += next(compare_runs({"a": document(one), "b": document(other)})).verdict == "b is better"
    assert found >= 17


def test_thresholds_that_hang_on_the_same_impostors_share_their_luck():
    runs = runs_of(0.3, np.random.default_rng(0))
    (apart,) = compare_runs(runs)
    (of_a,) = runs["a"].outcomes
    (of_b,) = runs["b"].outcomes
    same = of_b.model_copy(update={"false_accepts": of_a.false_accepts})
    (alike,) = compare_runs({**runs, "b": runs["b"].model_copy(update={"outcomes": [same]})})
    widths = [each.test.interval[1] - each.test.interval[0] for each in (alike, apart)]
    assert widths[0] < 0.8 * widths[1]
    assert alike.test.difference == apart.test.difference


@pytest.mark.parametrize("missing", ["curves", "figures"])
def test_rates_are_not_compared_without_all_that_they_need(missing):
    runs = runs_of(3, np.random.default_rng(0))
    earlier = [each.model_copy(update={"false_accepts": None}) for each in runs["b"].outcomes]
    for update in ({missing: []}, {"outcomes": earlier}):
        found = list(compare_runs({**runs, "b": runs["b"].model_copy(update=update)}))
        assert comparisons_of(found) == []
        (said,) = notes(found)
        assert said == "Not compared: lfw tar@1e-2: evaluate b anew: earlier releases kept too little of rates."
        table = comparison_table(found)
        assert (table.row_count, table.caption) == (0, said)


def test_a_model_that_accepts_nothing_at_a_rate_has_the_rate_0():
    is_same = np.arange(600) < 100
    alike, apart = (evaluated(Scores(score, is_same), fars=(1e-2,)) for score in (np.ones(600), is_same + 0.0))
    better, worse, equal = (
        next(iter(compare_runs(dict(zip("ab", runs, strict=True)))))
        for runs in ((alike, apart), (apart, alike), (alike, alike))
    )
    assert [(each.verdict, each.test.difference) for each in (better, worse, equal)] == [
        ("b is better", 1.0), ("a is better", -1.0), ("no difference shown", 0.0)
    ]  # fmt: skip
    assert (better.test.only_first, better.test.only_second) == (0, 100)
    assert 0.9 < better.test.interval[0] < 1


def of_persons(pairs=(3,) * 10):
    """Two models; ten persons with some genuine pairs each, 30 in all, who meet each other once."""
    random, everyone = np.random.default_rng(0), np.arange(10, dtype=np.int32)
    one, two = (side.astype(np.int32) for side in np.triu_indices(10, 1))
    first, second = (np.concatenate([np.repeat(everyone, pairs), side]) for side in (one, two))
    scores = [random.standard_normal(75) + 2 * (first == second) for _ in range(2)]
    subjects = Subjects(first, second, everyone)
    return {name: evaluated(Scores(score, first == second, subjects=subjects), fars=(1e-1,))
            for name, score in zip("ab", scores, strict=True)}  # fmt: skip


def test_documents_that_do_not_tell_of_persons_are_compared_and_it_is_said():
    runs = of_persons()
    assert notes(compare_runs(runs)) == []
    impersonal = [each.model_copy(update={"persons": None}) for each in runs["b"].outcomes]
    found = list(compare_runs({**runs, "b": runs["b"].model_copy(update={"outcomes": impersonal})}))
    assert len(comparisons_of(found)) == 1
    assert notes(found)[0].startswith("Not both runs tell who is shown of lfw:")


def test_pairs_of_other_persons_cannot_be_compared():
    runs = {"a": of_persons()["a"], "b": of_persons((2, 4, *(3,) * 8))["b"]}
    with pytest.raises(InvalidInput, match="lfw: a and b have pairs of other persons: they cannot be compared"):
        list(compare_runs(runs))


def test_a_probability_below_what_draws_tell_is_said_to_be():
    found = list(compare_runs({"a": document([False] * 300), "b": document([True] * 300)}))
    assert found[0].test.probability == pytest.approx(2 / 10_001)
    assert list(comparison_table(found).columns[7].cells) == ["<0.0002"]


def test_other_numbers_of_impostors_cannot_be_compared():
    runs = runs_of(0, np.random.default_rng(0))
    (curve,) = runs["b"].curves
    other = curve.model_copy(update={"impostors": [*curve.impostors, 1]})
    with pytest.raises(InvalidInput, match=r"lfw: 1000 pairs of two persons in a but 1001 in b"):
        list(compare_runs({**runs, "b": runs["b"].model_copy(update={"curves": [other]})}))


@pytest.mark.parametrize("changed", [{"pairs": 25}, {"right": "?"}, {"right": "AAAA" * 1000}, {"effect": 0},
                                     {"falseAccepts": "?"}, {"falseAccepts": "AAA="}, {"persons": "AAAA"},
                                     {"persons": "FAAAAAAAAAAAAAAA"}, {"persons": "EwAAABMAAAAAAAAA"}])  # fmt: skip
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


def of_files(*hashes, protocol=None, judged=()):
    """A document whose set is decided by files of these hashes, beside what was judged."""
    inputs = [
        InputFile(path=f"{place}/lfw.bin", sha256=sha256 * 64, of_set=True) for place, sha256 in enumerate(hashes)
    ]
    inputs += [InputFile(path="judged/lfw.bin", sha256=sha256 * 64) for sha256 in judged]
    record = SetRecord(dataset="lfw", protocol=protocol or PairProtocol(), images=4, inputs=inputs, versions={},
                       seconds=1, finished_at=datetime(2026, 1, 1, tzinfo=UTC))  # fmt: skip
    return document([True, False]).model_copy(update={"inputs": inputs, "sets": [record]})


@pytest.mark.parametrize(
    "other", [of_files("1", "2"), of_files("2", "1"), of_files("1", "2", judged="8"), document([True, False])]
)
def test_a_set_is_the_same_where_its_files_are_whatever_they_and_what_was_judged_are_called(other):
    assert list(compare_runs({"a": of_files("1", "2", judged="9"), "b": other}))


@pytest.mark.parametrize("other", [of_files("1"), of_files("1", "3"), of_files("1", "1"), of_files("1", "2", "2")])
def test_sets_of_other_files_cannot_be_compared_though_they_are_called_alike(other):
    one = of_files("1", "2")
    with pytest.raises(InvalidInput, match="lfw: a and c have looked at different files of this set"):
        list(compare_runs({"a": one, "b": one, "c": other}))


def test_files_of_another_protocol_are_others():
    """Galleries are none of the files that pairs of the same templates are in."""
    searched = of_files("1", "3", protocol=IdentificationProtocol())
    assert list(compare_runs({"a": of_files("1", "2"), "b": searched}))


def test_lists_of_other_sizes_cannot_be_compared():
    rates = AllPairsRates(dataset="faces", images=4, labels=2, genuine=2, impostors=4, tar_at_far={}, thresholds={},
                          unresolved=[])  # fmt: skip
    one = document([True, False], dataset="faces").model_copy(update={"all_pairs": [rates]})
    other = one.model_copy(update={"all_pairs": [rates.model_copy(update={"images": 5})]})
    with pytest.raises(InvalidInput, match="faces: 4 images in a but 5 in b"):
        list(compare_runs({"a": one, "b": other}))


def test_runs_are_called_by_what_tells_their_files_apart(tmp_path, capsys):
    for name in ("a/lfw.json", "b/lfw.json", "b/lfw.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(document([True, False]).to_json())
    one, other, text = (tmp_path / name for name in ("a/lfw.json", "b/lfw.json", "b/lfw.txt"))
    assert list(read_all([one])) == ["lfw"]
    assert list(read_all([one, other])) == ["a/lfw", "b/lfw"]
    assert list(read_all([other, text])) == ["lfw.json", "lfw.txt"]
    assert run(["evaluate", "compare", str(one), str(one)]) == 2
    assert capsys.readouterr().err == f"arcface evaluate: {one}: comes twice; compare different evaluations\n"


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
    written = EvaluationFile.read(tmp_path / "good.json")
    assert [(file.path, file.of_set) for file in written.sets[0].inputs] == [
        (str(path), True),
        (str(tmp_path / "good.npy"), False),
    ]
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "compare", str(tmp_path / "bad.json"), str(tmp_path / "good.json")])
    printed = capsys.readouterr().out
    assert "good is" in printed
    assert "better" in printed
    assert run(["evaluate", "compare", str(tmp_path / "bad.json")]) == 2
    assert "hold no outcomes of the same sets" in capsys.readouterr().err
