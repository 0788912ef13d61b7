"""Batches that do not depend on what else is embedded, in one process and in several."""

import threading
import tracemalloc
from functools import partial

import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.sets.release_images import open_images
from arcface_faces.embedding.embedder import BATCHES_AHEAD, InProcessEmbedder, decoding_threads, embed, open_embedder
from arcface_faces.pairs.pair_set import read_pair_set
from support.builders.ijb_release import write_release
from support.builders.verification_set import Shown, corner_network, encoded_image, noise_image, write_pairs, write_set
from support.fakes.networks import load_corner, load_damaged, load_deadly, load_own_card

IMAGES = [noise_image(seed) for seed in range(9)]


class Made:
    """Images that exist only when they are asked for."""

    def __init__(self, count, image):
        self.count, self.image = count, image

    def __len__(self):
        return self.count


def direct(shown):
    return corner_network(np.stack(shown).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 9, 10, 64])
def test_embeddings_do_not_depend_on_the_batch_size(batch_size):
    embeddings = embed(Shown(IMAGES), corner_network, batch_size)
    assert embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings[:, 0], direct(IMAGES))
    np.testing.assert_array_equal(embeddings[:, 1], direct([shown[:, ::-1] for shown in IMAGES]))


def test_network_sees_full_batches_and_what_is_left():
    seen = []

    def network(images):
        seen.append((images.shape, images.dtype, images.flags.c_contiguous))
        return corner_network(images)

    embed(Shown(IMAGES), network, batch_size=4)
    assert seen[::2] == seen[1::2] == [((size, 3, 112, 112), np.dtype(np.uint8), True) for size in (4, 4, 1)]


def test_one_number_an_image_is_no_embedding():
    with pytest.raises(InvalidInput, match="one number an image"):
        embed(Shown(IMAGES), lambda images: corner_network(images)[:, :1], batch_size=4)


def test_progress_adds_up_to_the_number_of_images():
    steps = []
    embed(Shown(IMAGES), corner_network, 4, steps.append)
    assert steps == [4, 4, 1]


def test_image_that_the_network_cannot_embed_is_named():
    def network(images):
        answer = corner_network(images)
        answer[(images == IMAGES[6].transpose(2, 0, 1)).all(axis=(1, 2, 3))] = np.nan
        return answer

    with pytest.raises(InvalidInput, match="embeddings of the network: row 6 holds a NaN"):
        embed(Shown(IMAGES), network, batch_size=4)


def test_answer_of_another_shape_is_refused():
    with pytest.raises(InvalidInput, match=r"answers 4 images with an array of shape \(4, 3, 112, 112\)"):
        embed(Shown(IMAGES), lambda images: images.astype(np.float32), batch_size=4)


def test_no_images_are_refused():
    with pytest.raises(InvalidInput, match="no images"):
        embed(Shown(), corner_network, batch_size=4)


def test_error_while_decoding_reaches_the_caller_and_no_thread_stays():
    def image(number):
        if number == 8:
            raise InvalidInput("set.bin: image 8: does not decode")
        return IMAGES[number]

    with pytest.raises(InvalidInput, match="image 8"):
        embed(Made(9, image), corner_network, batch_size=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_error_in_the_network_stops_the_decoding():
    def network(_images):
        raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"):
        embed(Shown(IMAGES), network, batch_size=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_decoding_runs_only_a_few_batches_ahead():
    decoded = []
    furthest = []

    def made(number):
        decoded.append(number)
        return IMAGES[0]

    def network(batch):
        furthest.append(len(decoded))
        return corner_network(batch)

    embed(Made(200, made), network, batch_size=5)
    ahead = decoding_threads() + BATCHES_AHEAD
    assert all(seen <= 5 * (call // 2 + 1 + ahead) for call, seen in enumerate(furthest))
    assert sorted(decoded) == list(range(200))


def test_memory_grows_by_the_embeddings_only():
    def peak(count):
        tracemalloc.start()
        made = Made(count, lambda number: IMAGES[number % 9].copy())
        embeddings = embed(made, corner_network, batch_size=8)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used - embeddings.nbytes

    peak(64)  # whatever is allocated once
    assert peak(1600) < peak(800) + 2_000_000  # 800 more images have 30 MB


def silent(_count):
    """Tell nobody."""


@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_gives_the_same_embeddings(tmp_path, processes):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 25))
    release = open_images(open_ijb(write_release(tmp_path)))
    told = []
    with open_embedder(load_corner, 7, processes) as embedder:
        for images in (pair_set, release):
            expected = InProcessEmbedder(load_corner, 7)(images, range(len(images)), silent)
            for numbers in (range(len(images)), range(10, 31), range(7)):
                np.testing.assert_array_equal(
                    embedder(images, numbers, told.append), expected[numbers.start : numbers.stop]
                )
    assert sum(told) == len(pair_set) + len(release) + 2 * (21 + 7)


def test_more_processes_than_batches_leave_some_idle(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 10))
    with open_embedder(load_corner, 15, 3) as embedder:
        expected = InProcessEmbedder(load_corner, 15)(pair_set, range(20), silent)
        np.testing.assert_array_equal(embedder(pair_set, range(20), silent), expected)


def test_every_process_has_a_card_of_its_own(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 10))
    with open_embedder(load_own_card, 5, 2) as embedder:
        assert embedder(pair_set, range(20), silent)[:, 0, 0].tolist() == [0] * 10 + [1] * 10


def test_what_is_wrong_with_a_image_is_told_as_it_is(tmp_path):
    images = [encoded_image(seed) for seed in range(19)]
    pair_set = read_pair_set(write_set(tmp_path / "bad.bin", [*images, b"none"], [True] * 10))
    with open_embedder(load_corner, 5, 2) as embedder, pytest.raises(InvalidInput, match="image 19: does not decode"):
        embedder(pair_set, range(20), silent)


def test_a_network_that_cannot_be_loaded_is_told_as_it_is(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 10))
    with (
        open_embedder(partial(load_damaged, "step-4"), 5, 2) as embedder,
        pytest.raises(InvalidInput, match="step-4: is damaged"),
    ):
        embedder(pair_set, range(20), silent)


def test_a_process_that_dies_is_not_waited_for(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "pairs.bin", 10))
    with open_embedder(load_deadly, 5, 2) as embedder, pytest.raises(ArcFaceError, match="has died"):
        embedder(pair_set, range(20), silent)
