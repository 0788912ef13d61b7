import hashlib
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_faces.images import decode
from arcface_trainer.synth import dataset
from arcface_trainer.synth.dataset import (
    SynthRequest,
    pair_images,
    training_images,
    write_dataset,
    write_verification_set,
)
from arcface_trainer.synth.painting import draw_face
from arcface_trainer.synth.person import LARGEST, SMALLEST, VERIFICATION, Conditions, draw_appearance, draw_identity
from support.waiting import wait_until

REQUEST = SynthRequest(identities=4, images_per_identity=3, test_identities=60, pairs=400, seed=5)
STILL = Conditions(pose=0, expression=0, light=0, damage=0, oldest=0)
FOLDS = 10


def pixels(name, pairs=REQUEST.pairs):
    """(pairs, 2, N) float32: a pair's two images at half size."""
    images = [pair_images(REQUEST, number, name) for number in range(pairs)]
    small = [[cv2.resize(decode(data, name), (56, 56), interpolation=cv2.INTER_AREA) for data in two] for two in images]
    return np.array(small, np.float32).reshape(pairs, 2, -1)


def best_fold_accuracy(cosines):
    """Plain ten-fold protocol on cosines, even pairs being the same person."""
    is_same = np.arange(len(cosines)) % 2 == 0
    thresholds = np.linspace(-1, 1, 401)
    is_right = (cosines[:, None] > thresholds) == is_same[:, None]
    scores = []
    for fold in np.array_split(np.arange(len(cosines)), FOLDS):
        rest = np.ones(len(cosines), bool)
        rest[fold] = False
        scores.append(is_right[fold, is_right[rest].mean(axis=0).argmax()].mean())
    return float(np.mean(scores))


def cosines(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    return (unit[:, 0] * unit[:, 1]).sum(axis=1)


@pytest.mark.parametrize("name", VERIFICATION)
def test_raw_pixels_hardly_tell_people_apart(name):
    vectors = pixels(name)
    assert best_fold_accuracy(cosines(vectors)) <= 0.65
    assert best_fold_accuracy(cosines(vectors - vectors.mean(axis=2, keepdims=True))) <= 0.65


def test_mean_colours_do_not_tell_people_apart():
    vectors = pixels("lfw").reshape(REQUEST.pairs, 2, -1, 3).mean(axis=2)
    distances = np.linalg.norm(vectors[:, 0] - vectors[:, 1], axis=1)
    assert best_fold_accuracy(1 - distances / distances.max()) <= 0.65


@pytest.mark.parametrize("measure", SMALLEST._fields)
def test_every_measure_of_a_person_can_be_seen(measure):
    middle = draw_identity(np.random.default_rng(0))
    one, other = (middle._replace(**{measure: getattr(limit, measure)}) for limit in (SMALLEST, LARGEST))
    first, second = (draw_face(person, STILL, np.random.default_rng(1)).astype(int) for person in (one, other))
    # The same random numbers paint both, so that only the measure differs.
    assert (np.abs(first - second).max(axis=2) > 20).sum() >= 15


def test_the_seed_decides_every_byte():
    drawn = training_images(REQUEST, 1)
    assert training_images(REQUEST, 1) == drawn
    assert training_images(REQUEST._replace(seed=6), 1) != drawn


def test_a_image_does_not_depend_on_how_many_are_drawn():
    more = REQUEST._replace(identities=40, images_per_identity=9, pairs=30)
    assert training_images(more, 2)[:3] == training_images(REQUEST, 2)
    assert pair_images(more, 7, "cfp_fp") == pair_images(REQUEST, 7, "cfp_fp")


def test_training_and_verification_show_other_people():
    training = {hashlib.sha256(data).digest() for number in range(4) for data in training_images(REQUEST, number)}
    shown = {hashlib.sha256(data).digest() for number in range(20) for data in pair_images(REQUEST, number, "lfw")}
    assert not training & shown


def test_every_fold_holds_as_many_same_as_different_pairs(tmp_path):
    request = REQUEST._replace(pairs=40)
    with ThreadPoolExecutor(1) as pool:
        write_verification_set(tmp_path / "lfw.bin", request, "lfw", pool, lambda _: None)
    images, is_same = pickle.loads((tmp_path / "lfw.bin").read_bytes())
    assert len(images) == 80
    assert [sum(fold) for fold in np.array_split(is_same, FOLDS)] == [2] * FOLDS


def test_a_drawing_that_is_broken_off_can_be_started_anew(tmp_path):
    request = SynthRequest(identities=2, images_per_identity=1, test_identities=2, pairs=20, seed=1)
    steps = iter(range(request.steps - 1))

    def interrupt(_count):
        if next(steps, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "out", request, interrupt)
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / ".drawing").mkdir()  # what a killed one leaves
    (tmp_path / "out" / ".drawing" / "lfw.bin").touch()
    write_dataset(tmp_path / "out", request, lambda _: None)
    names = {"train.rec", "train.idx", "property", *(f"{name}.bin" for name in VERIFICATION)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


@pytest.mark.parametrize(("name", "least"), [("cfp_fp", 0.7), ("cplfw", 0.5)])
def test_the_second_image_of_a_pose_pair_is_turned(name, least):
    for seed in range(50):
        first, second = (draw_appearance(c, np.random.default_rng(seed)) for c in VERIFICATION[name])
        assert abs(second.yaw) >= least * 0.55 > abs(first.yaw) / 2


def test_the_second_image_of_an_age_pair_is_older():
    for seed in range(50):
        young, old = (draw_appearance(c, np.random.default_rng(seed)) for c in VERIFICATION["agedb_30"])
        assert old.age - young.age >= 0.3


def test_images_are_jpeg_of_the_size_that_training_wants():
    for data in training_images(REQUEST, 0):
        assert data.startswith(b"\xff\xd8")
        assert decode(data, "drawn").shape == (112, 112, 3)


@pytest.mark.parametrize(("cores", "processes"), [(2, 2), (192, 8)])
def test_no_more_than_eight_processes_draw(monkeypatch, tmp_path, cores, processes):
    def executor(count, *_args, **_options):
        raise RuntimeError(count)

    monkeypatch.setattr(dataset.os, "sched_getaffinity", lambda _pid: set(range(cores)))
    monkeypatch.setattr(dataset, "ProcessPoolExecutor", executor)
    with pytest.raises(RuntimeError, match=f"^{processes}$"):
        write_dataset(tmp_path, REQUEST, advance=int)


@pytest.mark.parametrize(
    ("number", "told", "code"), [(signal.SIGTERM, "", 143), (signal.SIGINT, "Aborted!", 1)], ids=["TERM", "INT"]
)
def test_a_drawing_that_its_whole_group_is_asked_to_stop_twice_says_a_line_and_leaves_nothing(
    tmp_path, number, told, code
):
    """As `timeout` and impatient people ask; half a set would be taken for one."""
    command = [Path(sys.executable).with_name("arcface"), "data", "synth", tmp_path / "faces", "--pairs=20"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: list((tmp_path / "faces" / ".drawing").glob("*.bin")))
    for _ in range(2):
        os.killpg(started.pid, number)
    _, errors = started.communicate()
    assert started.returncode == code
    assert "Traceback" not in errors
    assert told in errors
    assert list((tmp_path / "faces").iterdir()) == []
