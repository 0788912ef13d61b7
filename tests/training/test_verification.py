"""A real training of two ranks that verifies after every epoch."""

from pathlib import Path

import numpy as np
import pytest

from arcface_api.contract.history import History
from arcface_evaluator.report.entries import result_of
from arcface_evaluator.verifying import embed_all, verify_pairs
from arcface_faces.checkpoint import checkpoints, newest_complete, read_manifest
from arcface_faces.embedding.embedder import InProcessEmbedder
from arcface_faces.pairs.pair_set import open_sets
from arcface_trainer.network.backbones import load_network
from support.builders.verification_set import encoded_image, write_set
from support.processes.trainings import TrainingPod, write_image_folder, write_run_config

STEPS_AN_EPOCH = 4 * 12 // 8
PAIRS = 11
SHARED_OUT = 10
"""More than a fiftieth of such a small training: the least, one pair a fold."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified")
    images = [encoded_image(seed) for seed in range(2 * PAIRS)]
    write_set(folder / "noise.bin", images, [pair % 2 == 0 for pair in range(PAIRS)])
    config = write_run_config(
        folder / "run.json",
        write_image_folder(folder / "images"),
        folder / "checkpoints",
        checkpoint={"directory": str(folder / "checkpoints"), "everySteps": 1000, "keepLast": 1},
        evaluation={"directory": str(folder), "sets": ["noise"], "everyEpochs": 1},
    )
    with TrainingPod(config) as pod:
        status, output = pod.wait()
    assert status == 0, output
    return folder, pod.report(), output


def test_every_epoch_is_verified_and_told(run):
    folder, report, output = run
    assert output.count("verification noise=") == 3
    history = History.read(folder / "checkpoints")
    assert [verification.epoch for verification in history.verifications] == [1, 2, 3]
    assert history.verifications[-1].results[0].dataset == "noise"
    verification = report["progress"]["verification"]
    assert (verification["epoch"], verification["step"]) == (3, 3 * STEPS_AN_EPOCH)
    assert [(each["dataset"], each["pairs"]) for each in verification["results"]] == [("noise", SHARED_OUT)]


def test_the_best_checkpoint_is_kept_beside_the_newest(run):
    folder, report, _ = run
    best = report["progress"]["best"]
    newest = f"step-{3 * STEPS_AN_EPOCH:08d}"
    assert {path.name for path in checkpoints(folder / "checkpoints")} == {newest, Path(best["path"]).name}
    manifest = read_manifest(folder / "checkpoints" / newest)
    assert manifest.best.step == best["step"]
    assert manifest.verification.step == manifest.step


def test_two_ranks_find_what_the_evaluator_finds_with_the_checkpoint(run):
    folder, report, _ = run
    network = load_network(newest_complete(folder / "checkpoints"))
    chosen = np.sort(np.random.default_rng(0).permutation(PAIRS)[:SHARED_OUT])
    images = [encoded_image(2 * pair + view) for pair in chosen for view in (0, 1)]
    sets = open_sets([write_set(folder / "chosen.bin", images, (chosen % 2 == 0).tolist())])
    embeddings = embed_all(sets[0], lambda: InProcessEmbedder(lambda: network, 4))
    expected = result_of(verify_pairs(sets[0], embeddings)).in_status
    (measured,) = report["progress"]["verification"]["results"]
    assert (measured["accuracy"], measured["std"]) == (expected.accuracy, expected.std)
