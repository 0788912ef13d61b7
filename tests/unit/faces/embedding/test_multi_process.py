"""Embeddings by several processes."""

from functools import partial

import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.sets.release_images import open_images
from arcface_faces.embedding.embedder import InProcessEmbedder
from arcface_faces.embedding.multi_process import open_embedder
from arcface_faces.pairs.pair_set import read_pair_set
from support.builders.ijb_release import write_release
from support.builders.verification_set import encoded_image, write_pairs, write_set
from support.fakes.networks import load_corner, load_damaged, load_deadly, load_own_card


def silent(_count):
    """Tell nobody."""


@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_gives_the_same_embeddings(tmp_path, processes):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 25))
    release = open_images(open_ijb(write_release(tmp_path)))
    told = []
    with open_embedder(load_corner, 7, processes) as embedder:
        for images in (pair_set, release):
            expected = InProcessEmbedder(load_corner, 7)(images, silent)
            np.testing.assert_array_equal(embedder(images, told.append), expected)
    assert sum(told) == len(pair_set) + len(release)


def test_more_processes_than_batches_leave_some_idle(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 10))
    with open_embedder(load_corner, 15, 3) as embedder:
        np.testing.assert_array_equal(embedder(pair_set, silent), InProcessEmbedder(load_corner, 15)(pair_set, silent))


def test_every_process_has_a_card_of_its_own(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 10))
    with open_embedder(load_own_card, 5, 2) as embedder:
        assert embedder(pair_set, silent)[:, 0, 0].tolist() == [0] * 10 + [1] * 10


def test_what_is_wrong_with_a_image_is_told_as_it_is(tmp_path):
    images = [encoded_image(seed) for seed in range(19)]
    pair_set = read_pair_set(write_set(tmp_path / "bad.bin", [*images, b"none"], [True] * 10))
    with open_embedder(load_corner, 5, 2) as embedder, pytest.raises(InvalidInput, match="image 19: does not decode"):
        embedder(pair_set, silent)


def test_a_network_that_cannot_be_loaded_is_told_as_it_is(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 10))
    with (
        open_embedder(partial(load_damaged, "step-4"), 5, 2) as embedder,
        pytest.raises(InvalidInput, match="step-4: is damaged"),
    ):
        embedder(pair_set, silent)


def test_a_process_that_dies_is_not_waited_for(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 10))
    with open_embedder(load_deadly, 5, 2) as embedder, pytest.raises(ArcFaceError, match="has died"):
        embedder(pair_set, silent)
