"""What takes long comes before a set is judged, and what has been judged is told whatever follows."""

import hashlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from arcface_api.command import run
from arcface_api.contract.reports import EvaluatorReport
from arcface_evaluator.evaluation import EMBEDDINGS, KeptDocuments
from arcface_evaluator.job import run_job
from arcface_evaluator.progress import ImageCount
from arcface_evaluator.report.document import EvaluationFile
from arcface_evaluator.sets import release_images
from arcface_faces.checkpoint import MANIFEST_FILE
from arcface_faces.embedding import parts
from arcface_faces.embedding.embedder import InProcessEmbedder
from support.builders.evaluations import write_config
from support.builders.ijb_release import IMAGES_EACH, PERSONS, write_release
from support.builders.onnx_model import corner_model
from support.builders.verification_set import corner_network, encoded_image, write_pairs, write_set

IMAGES = PERSONS * IMAGES_EACH


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Runs the evaluator of a job with a set, a release and whatever network."""
    monkeypatch.setattr(parts, "PART", 20)
    monkeypatch.setattr("arcface_evaluator.job._write_summary", lambda *_: None)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / MANIFEST_FILE).write_text("{}")
    write_pairs(tmp_path / "lfw.bin", pairs=20)
    write_release(tmp_path)
    config = write_config(tmp_path, ["lfw"], ["IJBC"])

    def started(network):
        embedder = InProcessEmbedder(lambda: network, batch_size=7)
        run_job(config, tmp_path / "termination", lambda *_: nullcontext(embedder), lambda _: None)
        return EvaluatorReport.from_json((tmp_path / "termination").read_bytes(), "termination log")

    return started


def kept(folder):
    return folder / "checkpoints" / "evaluation" / "checkpoints"


def test_images_are_hashed_before_they_are_embedded_and_only_then(job, tmp_path, monkeypatch):
    happened = []

    def noted(owner, name, event):
        done = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *words, **named: (happened.append(event), done(*words, **named))[1])

    noted(release_images, "hash_images", "images hashed")
    noted(EvaluationFile, "write", "document")
    noted(EvaluatorReport, "write", "report")
    noted(KeptDocuments, "drop_embeddings", "embeddings removed")

    def network(images):
        happened.append("embedded")
        return corner_network(images)

    job(network)
    each = [event for place, event in enumerate(happened) if place == 0 or event != happened[place - 1]]
    done = ["embedded", "document", "report", "embeddings removed"]
    assert each == [*done, "images hashed", *done]


def test_a_set_whose_images_go_while_it_is_judged_is_reported_all_the_same(job, tmp_path, caplog):
    seen = []

    def network(images):
        seen.append(len(images))
        if sum(seen) == 2 * (40 + IMAGES):
            for image in (tmp_path / "IJB_release" / "IJBC" / "loose_crop").iterdir():
                image.unlink()
        return corner_network(images)

    report = job(network)
    assert [rates.dataset for rates in report.ijb] == ["IJBC"]
    assert report.failure is None
    assert "the page shows no pairs of a set" in caplog.text


def test_a_killed_evaluator_of_a_release_loses_a_part_at_most_and_nothing_is_left_in_the_end(job, tmp_path):
    seen = []

    def ended(images):
        if sum(seen) >= 2 * (40 + 33):
            raise KeyboardInterrupt
        return counted(images)

    def counted(images):
        seen.append(len(images))
        return corner_network(images)

    with pytest.raises(KeyboardInterrupt):
        job(ended)
    assert [path.name for path in kept(tmp_path).glob(f"{EMBEDDINGS}/IJBC/*/*")] == ["00000000-00000020.npy"]
    seen.clear()
    report = job(counted)
    assert sum(seen) == 2 * (IMAGES - 20)
    assert [rates.tar_at_far for rates in report.ijb] == [{"1e-2": 1.0, "1e-1": 1.0}]
    assert not (kept(tmp_path) / EMBEDDINGS).exists()


def test_images_that_are_hashed_or_whose_embeddings_are_kept_count_as_progress(job, monkeypatch):
    done, before_batches = [], []
    monkeypatch.setattr(ImageCount, "add", lambda _, number: done.append(number))

    def ended(images):
        before_batches.append(sum(done))
        if sum(done) >= 40 + IMAGES + 33:
            raise KeyboardInterrupt
        return corner_network(images)

    with pytest.raises(KeyboardInterrupt):
        job(ended)
    assert 40 + IMAGES in before_batches
    assert not [count for count in before_batches if 40 < count < 40 + IMAGES]
    done.clear()
    job(corner_network)
    assert (done[: IMAGES + 1], sum(done)) == ([1] * IMAGES + [20], 2 * IMAGES)


def test_embeddings_that_a_process_left_when_it_was_killed_behind_its_document_go(job, tmp_path):
    job(corner_network)
    left = kept(tmp_path) / EMBEDDINGS / "IJBC" / "0123" / "00000000-00000020.npy"
    left.parent.mkdir(parents=True)
    left.touch()
    job(lambda _: pytest.fail("embedded again"))
    assert not (kept(tmp_path) / EMBEDDINGS).exists()


def test_embeddings_stay_where_the_document_could_not_be_written(job, tmp_path):
    (kept(tmp_path) / "IJBC.json").mkdir(parents=True)
    job(corner_network)
    assert len(list(kept(tmp_path).glob(f"{EMBEDDINGS}/IJBC/*/*.npy"))) == 3


@pytest.fixture
def embeddings(tmp_path):
    """Of the pairs of a set, one of whose images is none, and of a release."""
    images = [encoded_image(number // 2 + number % 2 * (number // 4 % 2)) for number in range(80)]
    write_set(tmp_path / "set.bin", [*images[:-1], b"no image"], [pair % 2 == 0 for pair in range(40)])
    rows = np.random.default_rng(1).standard_normal((80, 16)).astype(np.float32)
    np.save(tmp_path / "set.npy", rows)
    np.save(tmp_path / "release.npy", rows[:IMAGES])
    return tmp_path


def ends(*words):
    try:
        return run(["evaluate", *map(str, words)])
    except SystemExit as ended:
        return ended.code


def test_a_pair_that_cannot_be_shown_is_left_out_of_the_page_and_said_so(embeddings, caplog):
    folder = embeddings
    words = ("--embeddings", folder / "set.npy", "--bin", folder / "set.bin", "--report", folder / "page")
    rows = np.load(folder / "set.npy")
    rows[-1] = rows[-2]  # the impostors that are most alike
    np.save(folder / "set.npy", rows)
    assert ends("pairs", *words, "--json", folder / "out.json") == 0
    (line,) = caplog.messages
    assert line.startswith(f"set: the page leaves out a pair: {folder / 'set.bin'}: image 79: does not decode")
    assert (folder / "page" / "report.html").read_text().count("data:image/png") >= 2 * 15
    assert EvaluationFile.read(folder / "out.json").datasets == ["set"]


def test_a_release_whose_images_are_not_all_there_has_a_page_without_pairs(embeddings, caplog):
    folder = embeddings
    root = write_release(folder)
    (root / "loose_crop" / "7.jpg").unlink()
    words = ("--embeddings", folder / "release.npy", "--root", root, "--report", folder / "page")
    assert ends("ijb", *words) == 0
    assert any("the page shows no pairs of a set" in line and "7.jpg: is missing" in line for line in caplog.messages)
    assert (folder / "page" / "report.html").is_file()


def test_nothing_is_hashed_twice_by_a_command(tmp_path, monkeypatch):
    hashed, digest = [], hashlib.file_digest

    def noted(file, kind):
        hashed.append(Path(file.name).name)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    for name in ("one", "two"):
        write_pairs(tmp_path / f"{name}.bin", pairs=20)
    model = corner_model(tmp_path / "m.onnx")
    prepared = ("--mean", "127.5", "--scale", "127.5")
    sets = ("--bin", tmp_path / "one.bin", tmp_path / "two.bin")
    assert ends("pairs", "--model", model, *prepared, "--json", tmp_path / "out.json", *sets) == 0
    assert sorted(hashed) == ["m.onnx", "one.bin", "two.bin"]
    hashed.clear()
    root, checkpoint = write_release(tmp_path), tmp_path / "step-00000010"
    checkpoint.mkdir()
    (checkpoint / MANIFEST_FILE).write_text("{}")
    monkeypatch.setattr("arcface_evaluator.networks.load_checkpoint", lambda *_: corner_network)
    images, hash_images = [], release_images.hash_images
    monkeypatch.setattr(release_images, "hash_images", lambda *of: (images.append(of), hash_images(*of))[1])
    assert ends("ijb", "--checkpoint", checkpoint, "--root", root, "--json", tmp_path / "ijb.json") == 0
    assert len(images) == 1
    assert len(hashed) == len(set(hashed)) == 4  # the manifest and three files of the release
