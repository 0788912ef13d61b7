import threading
import tracemalloc

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.embedding.embedder import BATCHES_AHEAD, decoding_threads, embed
from support.builders.verification_set import Shown, corner_network, noise_image

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


def test_network_always_sees_the_same_shape():
    shapes = set()

    def network(images):
        shapes.add((images.shape, images.dtype, images.flags.c_contiguous))
        return corner_network(images)

    embed(Shown(IMAGES), network, batch_size=4)
    assert shapes == {((4, 3, 112, 112), np.dtype(np.uint8), True)}


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
