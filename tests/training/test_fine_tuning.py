"""Two real ranks begin with another training's network, train the head alone for an epoch, then all of it."""

import json

import numpy as np

from arcface_api.resource.spec import ModelSpec
from arcface_faces.checkpoint import BACKBONE_FILE, MOMENTUM_FILE, ClassRange, read_file, read_head, read_manifest
from support.builders.checkpoints import write_checkpoint
from support.processes.trainings import TrainingPod, write_image_folder, write_run_config

NETWORK = {"backbone": "iresnet18", "width": 0.0625, "stemStride": 2, "embeddingSize": 16}
IDENTITIES, STEPS_AN_EPOCH = 5, 5 * 8 // 8


def test_a_frozen_epoch_changes_the_head_alone_and_the_next_one_all(tmp_path):
    source = write_checkpoint(tmp_path / "source", ModelSpec.from_json(json.dumps(NETWORK), "network"))
    config = write_run_config(
        tmp_path / "run.json",
        write_image_folder(tmp_path / "images", IDENTITIES, each=8),
        tmp_path / "checkpoints",
        model=NETWORK | {"initFrom": {"claimName": "models"}, "freezeEpochs": 1},
        initDirectory=str(tmp_path / "source"),
        training={"epochs": 2, "batchSize": 4, "optimizer": {"learningRate": 0.01}},
        checkpoint={"directory": str(tmp_path / "checkpoints"), "everySteps": STEPS_AN_EPOCH, "keepLast": 3},
    )
    with TrainingPod(config) as pod:
        status, output = pod.wait()
    assert status == 0, output
    assert pod.report()["warnings"] == []
    given = read_file(source, read_manifest(source), BACKBONE_FILE)
    frozen, whole = (tmp_path / "checkpoints" / f"step-{number * STEPS_AN_EPOCH:08d}" for number in (1, 2))
    manifest = read_manifest(frozen)
    assert (manifest.source.job, manifest.source.step, manifest.source.head) == ("faces", 10, "means")
    assert read_manifest(whole).source == manifest.source
    for name, array in read_file(frozen, manifest, BACKBONE_FILE).items():
        np.testing.assert_array_equal(array, given[name], err_msg=name)
    assert not any(array.any() for array in read_file(frozen, manifest, MOMENTUM_FILE).values())
    after = read_file(whole, read_manifest(whole), BACKBONE_FILE)
    same = [name for name, array in after.items() if (array == given[name]).all()]
    assert same == ["features.gamma"], "which never learns"
    heads = [read_head(folder, read_manifest(folder), ClassRange(0, IDENTITIES)) for folder in (frozen, whole)]
    assert all(head["momentum"].any(axis=1).all() for head in heads)
    assert (heads[0]["centers"] != heads[1]["centers"]).any(axis=1).all()
