"""A job in the pod of its evaluator: what is judged, what is reported, whatever fails."""

import hashlib
import json
from contextlib import nullcontext

import pytest

from arcface_api.command import run
from arcface_api.contract.reports import EvaluatorReport, termination_message
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_api.resource.spec import VERIFICATION_SETS, GateSpec
from arcface_api.resource.status import IjbResult, PairResult
from arcface_evaluator.job import run_job
from arcface_evaluator.report.document import EvaluationFile
from arcface_evaluator.report.provenance import IjbProtocol, PairProtocol
from arcface_faces.checkpoint import MANIFEST_FILE
from arcface_faces.embedding.embedder import InProcessEmbedder
from support.builders.evaluations import write_config
from support.builders.ijb_release import write_release
from support.builders.verification_set import corner_network, write_pairs


def opened(_folder, _accelerator):
    return nullcontext(InProcessEmbedder(lambda: corner_network, batch_size=7))


def evaluate(folder, sets, open_network=opened, ijb=(), gates=()):
    """Run the job; the report it leaves, and the reports it announced."""
    announced = []
    if not (folder / "checkpoints").exists():
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / MANIFEST_FILE).touch()
    try:
        run_job(write_config(folder, sets, ijb, gates), folder / "termination", open_network, announced.append)
    finally:
        report = EvaluatorReport.from_json((folder / "termination").read_bytes(), "termination log")
    return report, announced


def test_report_holds_checkpoint_and_every_set_in_order(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    write_pairs(tmp_path / "cfp_fp.bin", pairs=10)
    report, announced = evaluate(tmp_path, ["cfp_fp", "lfw"])
    assert report.checkpoint == "runs/7"
    assert [(result.dataset, result.pairs, result.accuracy) for result in report.results] == [
        ("cfp_fp", 10, 1.0),
        ("lfw", 20, 1.0),
    ]
    assert report.failure is None
    assert [shown.split("]")[0] for shown in announced] == ["[cfp_fp", "[lfw"]


def test_releases_are_verified_beside_the_sets(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    write_release(tmp_path, "TinyFace")
    write_release(tmp_path, "IJBC")
    report, announced = evaluate(tmp_path, ["lfw"], ijb=["IJBC", "TinyFace"])
    assert [(result.dataset, result.tar_at_far) for result in report.ijb] == [
        ("IJBC", {"1e-2": 1.0, "1e-1": 1.0}),
        ("TinyFace", {"1e-2": 1.0, "1e-1": 1.0}),
    ]
    assert len(announced) == 3


def test_a_release_by_another_name_than_its_folders_is_refused_before_the_network_is_loaded(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    folder = write_release(tmp_path, "IJBC")
    folder.rename(folder.with_name("IJBC_clean"))
    with pytest.raises(InvalidInput, match=r"IJBC_clean: its files are those of IJBC; call the folder so"):
        evaluate(tmp_path, ["lfw"], unexpected, ijb=["IJBC_clean"])


def test_groups_of_other_pairs_are_refused_before_the_network_is_loaded(tmp_path):
    for name in ("lfw", "rfw"):
        write_pairs(tmp_path / f"{name}.bin", pairs=20)
    (tmp_path / "rfw.groups").write_text("African\n" * 21)
    with pytest.raises(InvalidInput, match=r"rfw\.groups: has 21 lines for the 20 pairs of rfw\.bin"):
        evaluate(tmp_path, ["lfw", "rfw"], unexpected)


def test_figures_that_gates_ask_for_are_reported(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    write_release(tmp_path, "IJBC")
    measured = {"lfw.eer": 0.0, "lfw.auc": 1.0, "lfw.tar@1e-1": 1.0}
    measured |= {"IJBC.eer": 0.0, "IJBC.auc": 1.0, "IJBC.tar@2.5e-2": 1.0, "IJBC.fnmr@0.5": 0.0, "IJBC.fmr@-1": 1.0}
    gates = [GateSpec(metric=metric, max=1.0) for metric in measured]
    report, _ = evaluate(tmp_path, ["lfw"], ijb=["IJBC"], gates=gates)
    assert report.figures.by_metric(measured) == measured


@pytest.mark.parametrize("metric", ["lfw.tar@1e-2", "IJBC.tar@1e-6", "lfw.African.accuracy"])
def test_a_gate_that_no_score_could_tell_is_refused_before_the_network_is_loaded(tmp_path, metric):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    write_release(tmp_path, "IJBC")
    gates = [GateSpec(metric=metric, max=1.0)]
    with pytest.raises(InvalidInput, match=f"gate {metric} can never be measured: "):
        evaluate(tmp_path, ["lfw"], unexpected, ijb=["IJBC"], gates=gates)


def test_a_gate_of_a_set_whose_name_begins_with_that_of_another_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("arcface_evaluator.job._write_summary", lambda *_: None)
    for name in ("own", "own.new"):
        write_pairs(tmp_path / f"{name}.bin", pairs=20)
    report, _ = evaluate(tmp_path, ["own", "own.new"], gates=[GateSpec(metric="own.new.eer", max=1.0)])
    assert report.figures.by_metric(["own.new.eer"]) == {"own.new.eer": 0.0}


def test_a_missing_release_is_named_before_the_network_is_loaded(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)

    def unexpected(_directory):
        raise AssertionError("loaded")

    with pytest.raises(InvalidInput, match=r"IJB_release/IJBC/meta: cannot be read"):
        evaluate(tmp_path, ["lfw"], unexpected, ijb=["IJBC"])


def test_all_results_fit_into_the_termination_message():
    rates = {f"1e-{power}": 0.123456 for power in range(6, 0, -1)}
    report = EvaluatorReport(
        checkpoint="/checkpoints/" + "x" * 200,
        results=[PairResult(dataset=name, accuracy=0.998167, std=0.002345, pairs=6000) for name in VERIFICATION_SETS],
        ijb=[IjbResult(dataset=name, tar_at_far=rates) for name in ("IJBB", "IJBC")],
    )
    message = termination_message(report)
    assert len(message) <= 4096
    assert EvaluatorReport.from_json(message, "termination log") == report


def test_what_was_found_before_a_failure_is_not_lost(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    release = write_release(tmp_path, "IJBC")
    (release / "loose_crop" / "5.jpg").write_bytes(b"no image")
    with pytest.raises(InvalidInput, match=r"5\.jpg"):
        evaluate(tmp_path, ["lfw"], ijb=["IJBC"])
    report = EvaluatorReport.from_json((tmp_path / "termination").read_bytes(), "termination log")
    assert [(result.dataset, result.accuracy) for result in report.results] == [("lfw", 1.0)]
    assert report.failure is not None
    assert report.failure.exit_code == 2


def failure_left(folder, expected, sets, open_network=opened):
    """The failure in the termination log after the job raised `expected`."""
    with pytest.raises(expected):
        evaluate(folder, sets, open_network)
    return json.loads((folder / "termination").read_bytes())["failure"]


def test_missing_set_is_named_before_the_network_is_loaded(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)

    def unexpected(_directory):
        raise AssertionError("loaded")

    failure = failure_left(tmp_path, InvalidInput, ["lfw", "agedb_30"], unexpected)
    assert failure["reason"] == "InvalidInput"
    assert failure["exitCode"] == 2
    assert failure["message"].startswith(f"{tmp_path / 'agedb_30.bin'}: is missing")


def test_folder_without_checkpoints_is_reported(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    (tmp_path / "checkpoints").mkdir()
    failure = failure_left(tmp_path, InvalidInput, ["lfw"])
    assert failure["exitCode"] == 2
    assert "holds no complete checkpoint" in failure["message"]


def test_command_ends_with_the_code_of_the_report(tmp_path, capsys):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    options = ["--config", write_config(tmp_path, ["lfw"]), "--termination-log", tmp_path / "termination"]
    assert run(["evaluate", "job", *map(str, options)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"arcface evaluate: {tmp_path / 'checkpoints'}: is no folder")
    assert json.loads((tmp_path / "termination").read_bytes())["failure"]["exitCode"] == 2


def test_job_without_evaluation_is_reported(tmp_path):
    assert "nothing to evaluate" in failure_left(tmp_path, InvalidInput, [])["message"]


@pytest.mark.parametrize("error", [RuntimeError("device\nlost"), ArcFaceError("device lost")])
def test_other_failures_are_reported_as_retryable(tmp_path, error):
    write_pairs(tmp_path / "lfw.bin", pairs=20)

    def broken(_directory, _accelerator):
        raise error

    failure = failure_left(tmp_path, type(error), ["lfw"], broken)
    assert (failure["reason"], failure["exitCode"]) == ("Error", 1)
    assert failure["message"].endswith("device lost")


def test_unreadable_configuration_is_reported(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"run\.json: job: required field is missing"):
        run_job(tmp_path / "run.json", tmp_path / "termination", opened, print)
    assert "run.json" in (tmp_path / "termination").read_text()
    with pytest.raises(InvalidInput, match=r"none\.json: cannot be read"):
        run_job(tmp_path / "none.json", tmp_path / "termination", opened, print)


def test_an_evaluation_without_a_place_for_its_report_has_been_done(tmp_path, caplog):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / MANIFEST_FILE).touch()
    announced = []
    run_job(write_config(tmp_path, ["lfw"]), tmp_path / "none" / "log", opened, announced.append)
    assert [shown.split("]")[0] for shown in announced] == ["[lfw"]
    assert "none/log reason=No such file or directory" in caplog.text


def kept(folder, name):
    return folder / "checkpoints" / "evaluation" / "checkpoints" / f"{name}.json"


def unexpected(_directory, _accelerator):
    raise AssertionError("loaded")


def test_documents_and_a_page_lie_beside_the_checkpoints(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    release = write_release(tmp_path, "IJBC")
    evaluate(tmp_path, ["lfw"], ijb=["IJBC"])
    lfw, ijb = (EvaluationFile.read(kept(tmp_path, name)) for name in ("lfw", "IJBC"))
    (record,) = lfw.sets
    assert (record.dataset, record.images, record.inputs[0].path) == ("lfw", 40, str(tmp_path / "lfw.bin"))
    assert record.inputs[0].sha256 == hashlib.sha256((tmp_path / "lfw.bin").read_bytes()).hexdigest()
    digests = [hashlib.sha256((release / "loose_crop" / f"{row}.jpg").read_bytes()).digest() for row in range(48)]
    assert ijb.inputs[-1].path == str(release / "loose_crop")
    assert ijb.inputs[-1].sha256 == hashlib.sha256(b"".join(digests)).hexdigest()
    assert [each.protocol for each in (lfw, ijb)] == [PairProtocol(), IjbProtocol()]
    both = EvaluationFile.read(kept(tmp_path, "lfw").parent.with_suffix(".json"))
    assert both.sets == [*lfw.sets, *ijb.sets]
    assert "lfw" in (kept(tmp_path, "lfw").parent / "report.html").read_text()


def test_another_evaluator_takes_what_is_kept_and_needs_no_network_for_it(tmp_path):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    write_pairs(tmp_path / "calfw.bin", pairs=10)
    gates = [GateSpec(metric="lfw.eer", max=0.5)]
    first, _ = evaluate(tmp_path, ["lfw", "calfw"], gates=gates)
    again, announced = evaluate(tmp_path, ["lfw", "calfw"], unexpected, gates=gates)
    assert again == first
    assert announced == ["lfw: evaluated before", "calfw: evaluated before"]


CHANGES = {
    "images": lambda folder: write_pairs(folder / "lfw.bin", pairs=21),
    "groups": lambda folder: (folder / "lfw.groups").write_text("one\n" * 20),
    "checkpoint": lambda folder: (folder / "checkpoints" / MANIFEST_FILE).write_text("{}"),
    "half": lambda folder: kept(folder, "lfw").write_bytes(kept(folder, "lfw").read_bytes()[:-100]),
    "zeros": lambda folder: kept(folder, "lfw").write_bytes(bytes(1000)),
    "of another set": lambda folder: kept(folder, "calfw").rename(kept(folder, "lfw")),
    "on another accelerator": lambda folder: kept(folder, "lfw").write_text(
        kept(folder, "lfw").read_text().replace('"accelerator": "cpu"', '"accelerator": "ascend"')
    ),
    "by other programs": lambda folder: kept(folder, "lfw").write_text(
        kept(folder, "lfw").read_text().replace('"numpy": "', '"numpy": "0.')
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_kept_of_something_else_is_computed_again(tmp_path, monkeypatch, change):
    monkeypatch.setattr("arcface_evaluator.job._write_summary", lambda *_: None)
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    write_pairs(tmp_path / "calfw.bin", pairs=10)
    evaluate(tmp_path, ["lfw", "calfw"])
    CHANGES[change](tmp_path)
    _, announced = evaluate(tmp_path, ["lfw"])
    assert announced[0].startswith("[lfw]XNorm")
    assert EvaluationFile.read(kept(tmp_path, "lfw")).sets[0].dataset == "lfw"


def test_gates_that_ask_for_more_have_a_set_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr("arcface_evaluator.job._write_summary", lambda *_: None)
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    evaluate(tmp_path, ["lfw"])
    report, _ = evaluate(tmp_path, ["lfw"], gates=[GateSpec(metric="lfw.auc", min=0.5)])
    assert report.figures.by_metric(["lfw.auc"]) == {"lfw.auc": 1.0}


def test_a_gate_that_is_taken_out_leaves_the_others_judged_by_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("arcface_evaluator.job._write_summary", lambda *_: None)
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    gates = [GateSpec(metric="lfw.eer", max=0.5), GateSpec(metric="lfw.auc", min=0.5)]
    evaluate(tmp_path, ["lfw"], gates=gates)
    report, announced = evaluate(tmp_path, ["lfw"], unexpected, gates=gates[1:])
    assert announced == ["lfw: evaluated before"]
    assert report.figures.by_metric(["lfw.auc"]) == {"lfw.auc": 1.0}


def test_a_claim_that_cannot_be_written_costs_one_line(tmp_path, caplog):
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    write_pairs(tmp_path / "calfw.bin", pairs=10)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / MANIFEST_FILE).touch()
    (tmp_path / "checkpoints" / "evaluation").touch()  # a file, since root may write to any folder
    report, announced = evaluate(tmp_path, ["lfw", "calfw"])
    assert [result.dataset for result in report.results] == ["lfw", "calfw"]
    assert len(announced) == 2
    (line,) = caplog.messages
    assert line.startswith("documents and pages are not kept, results are told all the same")
