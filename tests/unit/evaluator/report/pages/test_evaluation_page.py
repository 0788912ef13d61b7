"""The page of an evaluation: whole in one file, true to the numbers, harmless whatever the sets are called."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from arcface_api.command import run
from arcface_api.resource.spec import ModelSpec
from arcface_evaluator.metrics.dependence import Dependence
from arcface_evaluator.report import entries
from arcface_evaluator.report.document import EvaluationFile
from arcface_evaluator.report.entries import BINS, curves_of
from arcface_evaluator.report.figures import GroupFigures, Measured, OperatingPoint, SetFigures
from arcface_evaluator.report.outcomes import Outcomes
from arcface_evaluator.report.pages import evaluation_page, evaluation_tables
from arcface_evaluator.report.provenance import InputFile
from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.sets.release_images import open_images
from arcface_faces.checkpoint import CheckpointManifest
from arcface_faces.checkpoint_writing import write_manifest
from arcface_faces.embedding.embedder import embed
from arcface_faces.pairs.pair_set import read_pair_set
from arcface_faces.scores import Scores
from support.builders.ijb_release import write_release
from support.builders.verification_set import corner_network, write_pairs

MOMENTS = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=timezone(timedelta(minutes=90)))]
PNG = b"\x89PNG\r\n\x1a\n"


def evaluated(*words):
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", *map(str, words)])


@pytest.fixture
def pairs(tmp_path):
    """Two sets with embeddings, one of them called like a tag."""
    words = []
    for name in ("small", "<b>odd"):
        path = write_pairs(tmp_path / f"{name}.bin", pairs=20)
        np.save(tmp_path / f"{name}.npy", embed(read_pair_set(path), corner_network, batch_size=8))
        words += ["--bin", path, "--embeddings", tmp_path / f"{name}.npy"]
    return words


def page_of(folder):
    page = (folder / "report.html").read_text("utf-8")
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!data:|#)", page), "the page needs another file"
    return page


def test_pair_sets_have_their_numbers_plots_and_hardest_pairs(tmp_path, pairs):
    evaluated("pairs", *pairs, "--report", tmp_path / "page", "--json", tmp_path / "run.json")
    page = page_of(tmp_path / "page")
    written = json.loads((tmp_path / "run.json").read_text())
    for result in written["results"]:
        assert f"<td>{result['accuracy']:.5f}</td>" in page
    assert page.count("One person, least alike") == page.count("Two persons, most alike") == 2
    for entry in written["inputs"]:
        assert entry["sha256"] in page
    plots = sorted(path.name for path in (tmp_path / "page").glob("small-*.png"))
    assert plots == ["small-det.png", "small-folds.png", "small-roc.png", "small-scores-of-small.png"]
    assert all(path.read_bytes().startswith(PNG) for path in (tmp_path / "page").glob("*.png"))


def test_names_from_outside_are_text(tmp_path, pairs):
    evaluated("pairs", *pairs, "--report", tmp_path / "page")
    page = page_of(tmp_path / "page")
    assert "&lt;b&gt;odd" in page
    assert "<b>" not in page


def test_a_release_has_its_table_with_intervals_and_its_hardest_templates(tmp_path):
    root = write_release(tmp_path)
    np.save(tmp_path / "model.npy", embed(open_images(open_ijb(root)), corner_network, batch_size=8))
    evaluated("ijb", "--embeddings", tmp_path / "model.npy", "--root", root, "--report", tmp_path / "page")
    page = page_of(tmp_path / "page")
    assert "model: norm kept, x detector score, + mirrored" in page
    assert page.count("<td>95 % interval</td>") == 1
    assert re.search(r"<td>\d\d?\.\d\d to 100\.00</td>", page)  # few pairs are never sure
    assert re.search(r"templates \d+ and \d+: 1.000", page)


def test_embeddings_alone_need_no_images(tmp_path):
    root = write_release(tmp_path)
    np.save(tmp_path / "model.npy", embed(open_images(open_ijb(root)), corner_network, batch_size=8))
    (root / "loose_crop").rename(tmp_path / "elsewhere")
    evaluated("ijb", "--embeddings", tmp_path / "model.npy", "--root", root, "--report", tmp_path / "page")
    assert "most alike" not in page_of(tmp_path / "page")


def test_several_runs_are_compared_on_one_page(tmp_path, pairs):
    for name in ("one", "other"):
        evaluated("pairs", *pairs, "--json", tmp_path / f"{name}.json")
    evaluated("compare", tmp_path / "one.json", tmp_path / "other.json", "--report", tmp_path / "page")
    page = page_of(tmp_path / "page")
    assert page.count("<tr><td>one</td><td>1.00000</td>") == page.count("<tr><td>other</td><td>1.00000</td>") == 2
    assert len(list((tmp_path / "page").glob("small-scores-of-*.png"))) == 2


def test_all_sets_come_first_in_one_table(tmp_path, pairs):
    evaluated("pairs", *pairs, "--report", tmp_path / "page")
    first = page_of(tmp_path / "page").partition("<table>")[2].partition("</table>")[0]
    assert re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td>", first) == [
        ("small", "accuracy", "1.00000"),
        ("&lt;b&gt;odd", "accuracy", "1.00000"),
    ]


def test_operating_points_have_their_thresholds_and_errors(tmp_path):
    """Impostors at 0, 0.1, ... 0.9; genuine pairs at 0.75 and 0.95, five each."""
    impostors, genuine = [each / 10 for each in range(10)], [0.75, 0.95] * 5
    write_pairs(tmp_path / "small.bin", pairs=20)
    angles = [each for both in zip(genuine, impostors, strict=True) for each in both]  # even pairs are genuine
    rows = [row for cosine in angles for row in ((1.0, 0.0), (cosine, (1 - cosine**2) ** 0.5))]
    np.save(tmp_path / "angles.npy", np.array(rows, np.float32))
    words = ["--bin", tmp_path / "small.bin", "--embeddings", tmp_path / "angles.npy"]
    evaluated("pairs", *words, "--report", tmp_path / "page")
    page = page_of(tmp_path / "page")
    # One of ten impostors scores 0.9, half of the genuine pairs less.
    assert re.search(r"<td>1e-1</td><td>0\.9000</td><td>0\.1</td><td>0\.50000</td>", page)


def test_hardest_pairs_are_marked_right_or_wrong(tmp_path):
    write_pairs(tmp_path / "small.bin", pairs=20)
    rows = np.eye(40, 64, dtype=np.float32)
    rows[0::4] = rows[1::4]  # even pairs show one person
    rows[2], rows[4] = rows[3], np.eye(64)[60]  # pair 1 is an impostor that looks the same, pair 2 one person unlike
    np.save(tmp_path / "model.npy", rows)
    words = ["--bin", tmp_path / "small.bin", "--embeddings", tmp_path / "model.npy"]
    evaluated("pairs", *words, "--report", tmp_path / "page")
    page = page_of(tmp_path / "page")
    marks = dict(re.findall(r"<figcaption>pair (\d+): [-.\d]+ <strong>(\w+)</strong>", page))
    assert (marks["1"], marks["2"]) == ("wrong", "wrong")
    assert {mark for pair, mark in marks.items() if pair not in {"1", "2"}} == {"right"}


def test_pairs_of_templates_are_marked_by_an_operating_point():
    of_two = entries.HardPairs("IJBC", "", [entries.HardPair("", (), score) for score in (0.3, 0.2)], is_same=False)
    assert [pair.verdict for pair in of_two.pairs] == ["", ""]
    assert [pair.verdict for pair in of_two.judged(0.25).pairs] == ["wrong", "right"]


def test_a_checkpoint_names_job_and_model_as_long_as_it_is_the_one(tmp_path):
    folder = write_manifest_alone(tmp_path / "step-00000007")
    inputs = [InputFile.of(folder / "manifest.json")]
    told = {}
    other = InputFile(path=inputs[0].path, sha256="0" * 64)
    for name, hashes in {"same": inputs, "other": [other]}.items():
        run_of = EvaluationFile(checkpoint="faces/step-00000007", inputs=hashes)  # as a job names it, below its claim
        told[name] = evaluation_page.write_page(tmp_path / name, {folder.name: run_of}).read_text()
    assert "<h1>Evaluation of faces</h1>" in told["same"]
    assert "<dd>iresnet18, width 0.5, embeddings of 64</dd>" in told["same"]
    assert "<dd>step 7 of 20, 2026-01-02 00:00 UTC</dd>" in told["same"]
    assert "<h1>Evaluation of step-00000007</h1>" in told["other"]
    assert "iresnet18" not in told["other"]


def write_manifest_alone(folder):
    folder.mkdir()
    manifest = CheckpointManifest(
        job="faces",
        spec_hash="0" * 64,
        step=7,
        total_steps=20,
        epoch=1,
        total_batch_size=8,
        world_size=1,
        seed=0,
        image_count=80,
        class_count=4,
        saved_at=datetime(2026, 1, 2, tzinfo=UTC),
        model=ModelSpec(backbone="iresnet18", width=0.5, embedding_size=64),
        files=[],
    )
    write_manifest(folder, manifest.to_json())
    return folder


def test_a_page_tells_when_and_by_what_the_evaluation_was_made_and_not_the_page(tmp_path, pairs):
    evaluated("pairs", *pairs, "--json", tmp_path / "run.json")
    run_of = EvaluationFile.read(tmp_path / "run.json")
    early, late = run_of.sets
    versions = {"commit": "0123abc", "arcface-evaluator": "0.0.7"}
    sets = [
        late.model_copy(update={"finished_at": MOMENTS[1], "versions": versions}),
        early.model_copy(update={"finished_at": MOMENTS[0]}),
    ]
    page = evaluation_page.write_page(tmp_path, {"run": EvaluationFile(inputs=run_of.inputs, sets=sets)}).read_text()
    assert "<dd>2026-01-02 22:30 UTC by commit 0123abc, arcface-evaluator 0.0.7</dd>" in page


def test_groups_have_their_rates_at_each_operating_point_and_who_is_worst_alone_is_named():
    def group(name, fmr, fnmr):
        point = OperatingPoint(far=1e-3, threshold=0.5, fmr=fmr, fnmr=fnmr, interval=(0, 0.5), fmr_interval=(0, 0.1))
        return GroupFigures(group=name, pairs=9, points=[point])

    groups = [group("A", 0.002, 0.1), group("B", 0.001, 0.2), group("C", None, 0.2)]
    points = [OperatingPoint(far=1e-3, threshold=0.5, fmr=0.001, fnmr=0.15)]
    found = SetFigures(dataset="rfw", auc=1, eer=0, eer_threshold=0.5, points=points, groups=groups)
    run_of = EvaluationFile(inputs=[InputFile(path="rfw.bin", sha256="0" * 64)], figures=[found])
    *_, table = evaluation_tables.tables_of({"a": run_of}, evaluation_tables.results_of({"a": run_of}, "rfw"))
    assert table.rows == [
        ["1e-3", "A", "0.002", "0.0000 to 0.1000", "0.10000", "0.0000 to 0.5000", "worst FMR"],
        ["1e-3", "B", "0.001", "0.0000 to 0.1000", "0.20000", "0.0000 to 0.5000", ""],
        ["1e-3", "C", "-", "0.0000 to 0.1000", "0.20000", "0.0000 to 0.5000", ""],
    ]


def test_the_comparison_tells_differences_intervals_and_the_test(tmp_path):
    """Ten pairs that only the second judges rightly and none the other way, which tell as much as 10 / (19 / 9).

    With Jeffreys' prior twice what B(90 / 19 + 0.5, 0.5) has below 0.5, 0.0168 by SciPy, within the luck of draws.
    """
    runs = {"a": compared([True, False] * 10), "b": compared([True] * 20)}
    page = evaluation_page.write_page(tmp_path, runs).read_text()
    (row,) = re.findall(r"<tr><td>lfw</td>(.*?)</tr>", page)
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert cells[:3] == ["accuracy", "better", "+50.000"]
    assert cells[5:] == ["0", "10"]
    assert float(cells[4]) == pytest.approx(0.0168, abs=0.004)
    low, high = map(float, cells[3].split(" to "))
    assert 5 < low < 20 < 70 < high < 75
    assert (tmp_path / "comparison-differences.png").is_file()
    runs["c"] = compared([False] * 20)
    assert (
        "<tr><td>c</td><td>lfw</td><td>accuracy</td><td>worse</td><td>-50.000</td>"
        in evaluation_page.write_page(tmp_path, runs).read_text()
    )


def test_long_names_of_runs_leave_the_plot_of_differences_its_room(tmp_path):
    """Of two runs neither is named in it; text begins and ends within the drawing."""
    runs = {name * 12: compared(right) for name, right in {"one/": [True] * 20, "other/": [False] * 20}.items()}
    section = evaluation_page.write_page(tmp_path, runs).read_text().split('aria-label="Comparison: differences"')[1]
    assert ">difference to the first run in %<" in section
    assert "one/one/" not in section.split("</figure>")[0]


def compared(right):
    scores, right = Scores(np.zeros(len(right)), np.array(right)), np.array(right)
    everyone = Dependence.of(scores, np.ones(len(right), np.bool_))
    return EvaluationFile(
        inputs=[InputFile(path="lfw.bin", sha256="0" * 64)], outcomes=[Outcomes.of("lfw", "accuracy", everyone, right)]
    )


@pytest.mark.parametrize("text", ["", "[]", '{"inputs": 3}', '{"unknown": 1}', '{"inputs": []}'])
def test_what_is_no_evaluation_cannot_be_compared(tmp_path, capsys, text):
    (tmp_path / "run.json").write_text(text)
    assert run(["evaluate", "compare", str(tmp_path / "run.json"), "--report", str(tmp_path / "page")]) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert "run.json" in output


def test_the_page_has_the_digits_of_the_terminal_and_not_of_rounded_results(tmp_path, pairs):
    evaluated("pairs", *pairs, "--json", tmp_path / "one.json")
    document = json.loads((tmp_path / "one.json").read_text())
    document["details"][0]["folds"] = [0.5 - 0.1795051, 0.5 + 0.1795051]
    document["results"][0] |= {"accuracy": 0.5, "std": 0.179505}
    (tmp_path / "one.json").write_text(json.dumps(document))
    evaluated("compare", tmp_path / "one.json", "--report", tmp_path / "page")
    assert "<td>0.17951</td>" in page_of(tmp_path / "page")


def test_runs_that_do_not_belong_together_cannot_be_compared(tmp_path, pairs, capsys):
    evaluated("pairs", *pairs, "--json", tmp_path / "one.json")
    document = json.loads((tmp_path / "one.json").read_text())
    others = [{**entry, "sha256": "0" * 64} for entry in document["inputs"]]
    for name, changed in {
        "other": {"sets": [{**document["sets"][0], "inputs": others}]},
        "resultless": {"results": []},
        "curved": {"curves": [{**document["curves"][0], "fpr": [0.0]}]},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**document, **changed}))
    capsys.readouterr()
    said = {}
    for name in ("other", "resultless", "curved"):
        files = [str(tmp_path / f"{each}.json") for each in ("one", name)]
        assert run(["evaluate", "compare", *files, "--report", str(tmp_path / "page")]) == 2
        said[name] = capsys.readouterr().err
        assert said[name].count("\n") == 1
    assert "small: one and other have looked at different files" in said["other"]
    assert "without a result" in said["resultless"]
    assert "do not belong together" in said["curved"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, pairs, capsys):
    (tmp_path / "page").write_text("a file")
    assert run(["evaluate", "pairs", *map(str, pairs), "--report", str(tmp_path / "page")]) == 2
    assert "--report" in capsys.readouterr().err


def test_curves_keep_the_rates_that_count():
    random = np.random.default_rng(0)
    is_same = np.arange(200_000) < 2_000
    scores = random.normal(np.where(is_same, 2.0, 0.0), 1.0)
    curves = curves_of("set", "cosine", Measured.of(Scores(scores, is_same)))
    assert len(curves.fpr) < 500
    assert sum(curves.genuine) == 2_000
    assert sum(curves.impostors) == 198_000
    assert len(curves.genuine) == BINS
    for far in (1e-4, 1e-3, 1e-2, 1e-1):
        threshold = np.quantile(scores[~is_same], 1 - far)
        expected = (scores[is_same] >= threshold).mean()
        assert np.interp(far, curves.fpr, curves.tpr) == pytest.approx(expected, abs=0.01)
    assert (curves.fpr[-1], curves.tpr[-1]) == (1.0, 1.0)
    assert (np.diff(curves.fpr) >= 0).all()
