"""A real training of two ranks that is killed or stopped and run again ends where an undisturbed one ends."""

import json
import os
import signal

import numpy as np
import pytest

from arcface_api.contract.history import History
from arcface_faces.checkpoint import BACKBONE_FILE, ClassRange, newest_complete, read_file, read_head, read_manifest
from support.processes.trainings import DEADLINE_SECONDS, TrainingPod, write_image_folder, write_run_config
from support.waiting import wait_until

TOTAL_STEPS = 3 * (4 * 12 // 8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("undisturbed")
    with TrainingPod(write_run_config(folder / "run.json", images, folder / "checkpoints")) as pod:
        status, output = pod.wait()
        assert status == 0, output
    assert pod.report()["progress"]["step"] == TOTAL_STEPS
    return folder / "checkpoints"


def weights_of(checkpoints):
    folder = newest_complete(checkpoints)
    manifest = read_manifest(folder)
    assert manifest.step == TOTAL_STEPS
    return read_file(folder, manifest, BACKBONE_FILE) | read_head(folder, manifest, ClassRange(0, 4))


def assert_same_weights(checkpoints, expected):
    """By tolerance: the order of MindSpore's sums differs from run to run."""
    measured = weights_of(checkpoints)
    for name, array in weights_of(expected).items():
        np.testing.assert_allclose(measured[name], array, rtol=0.02, atol=2e-3, err_msg=name)


def told_by_history(checkpoints):
    """The steps that the stretches of a training went on from, and from which steps to which its figures reach."""
    history = History.read(checkpoints)
    assert history.unreadable == 0
    return [line.step for line in history.starts], [(line.step - line.steps, line.step) for line in history.figures]


def assert_each_step_is_told_once(checkpoints, resumed_from):
    starts, told = told_by_history(checkpoints)
    assert starts == [0, resumed_from]
    assert [first for first, _ in told] == [0, *(last for _, last in told[:-1])]
    assert resumed_from in [last for _, last in told]
    assert told[-1][1] == TOTAL_STEPS


def test_a_killed_run_goes_on_from_its_newest_checkpoint(tmp_path, images, undisturbed):
    config = write_run_config(tmp_path / "run.json", images, tmp_path / "checkpoints")
    with TrainingPod(config) as pod:
        wait_until(lambda: newest_complete(tmp_path / "checkpoints") is not None, DEADLINE_SECONDS)
        pod.process.send_signal(signal.SIGKILL)
        pod.wait()
    before = read_manifest(newest_complete(tmp_path / "checkpoints")).step
    assert before >= 4
    with TrainingPod(config) as pod:
        status, output = pod.wait()
    assert status == 0, output
    assert pod.report()["checkpoint"]["resumedFromStep"] == before
    assert_each_step_is_told_once(tmp_path / "checkpoints", before)
    assert_same_weights(tmp_path / "checkpoints", undisturbed)


def test_a_stopped_run_saves_at_once_and_goes_on_there(tmp_path, images, undisturbed):
    long = {"directory": str(tmp_path / "checkpoints"), "everySteps": 1000, "keepLast": 1}
    config = write_run_config(tmp_path / "run.json", images, tmp_path / "checkpoints", checkpoint=long)
    with TrainingPod(config) as pod:
        pod.wait_for_step(3)
        os.kill(pod.process.pid, signal.SIGTERM)
        status, output = pod.wait()
    assert status == 143, output
    assert pod.report()["failure"]["reason"] == "Stopped"
    stopped_at = pod.report()["progress"]["step"]
    assert read_manifest(newest_complete(tmp_path / "checkpoints")).step == stopped_at
    with TrainingPod(config) as pod:
        assert pod.wait()[0] == 0
    assert pod.report()["checkpoint"]["resumedFromStep"] == stopped_at
    assert_each_step_is_told_once(tmp_path / "checkpoints", stopped_at)
    assert_same_weights(tmp_path / "checkpoints", undisturbed)


def test_a_damaged_newest_checkpoint_is_passed_over_and_its_steps_come_to_the_same_weights(tmp_path, images):
    config = write_run_config(tmp_path / "run.json", images, tmp_path / "checkpoints")
    with TrainingPod(config) as pod:
        assert pod.wait()[0] == 0
    before = weights_of(tmp_path / "checkpoints")
    newest = tmp_path / "checkpoints" / f"step-{TOTAL_STEPS:08d}"
    with (newest / BACKBONE_FILE).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    with TrainingPod(config) as pod:
        status, output = pod.wait()
    assert status == 0, output
    repeated = TOTAL_STEPS - pod.report()["checkpoint"]["resumedFromStep"]
    assert 1 <= repeated <= 8
    after = weights_of(tmp_path / "checkpoints")
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=0, atol=1e-5 * repeated, err_msg=name)


def test_a_checkpoint_of_another_job_is_refused_and_kept(tmp_path, images, undisturbed):
    config = write_run_config(tmp_path / "run.json", images, undisturbed)
    content = json.loads(config.read_text()) | {"specHash": "1" * 64}
    config.write_text(json.dumps(content))
    before = sorted(path.name for path in undisturbed.iterdir())
    with TrainingPod(config) as pod:
        status, output = pod.wait()
    assert status == 2
    assert "was written for another model, loss, data or training specification" in output
    assert sorted(path.name for path in undisturbed.iterdir()) == before
