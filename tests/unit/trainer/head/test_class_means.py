"""Centres from a few images of each class, with a network that anybody can check by eye: the mean colour."""

import cv2
import numpy as np
import pytest

from arcface_api.errors import ArcFaceError
from arcface_faces.checkpoint import ClassRange, class_range
from arcface_trainer.head.class_means import _chosen_images, class_means
from arcface_trainer.head.classifier import CENTER_SIGMA, initial_centers

COLOURS = ((250, 10, 10), (10, 250, 10), (10, 10, 250), (200, 200, 10), (10, 200, 200))
ALL = ClassRange(0, len(COLOURS))


class Faces:
    """Images of one colour for each identity, in no order; some that do not decode."""

    class_count, dropped_identities = len(COLOURS), 0

    def __init__(self, each=7, broken=()):
        self.labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(COLOURS)), each))
        self.broken, self.read = set(broken), []

    def image_bytes(self, index):
        self.read.append(index)
        if self.labels[index] in self.broken:
            return b"no image"
        pixels = np.full((112, 112, 3), COLOURS[self.labels[index]][::-1], np.uint8)
        return cv2.imencode(".png", pixels)[1].tobytes()

    def where(self, index):
        return f"image {index}"


def mean_colour(images):
    return images.mean(axis=(2, 3)).astype(np.float32)


def means(faces, classes=ALL, **options):
    return class_means(faces, classes, mean_colour, 4, initial_centers(classes, 3, seed=0), **options)


def test_each_centre_is_the_mean_direction_of_its_class_at_the_length_of_fresh_centres():
    found = means(Faces())
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(lengths, CENTER_SIGMA * np.sqrt(3), rtol=1e-5)
    expected = np.array(COLOURS) / np.linalg.norm(COLOURS, axis=1, keepdims=True)
    np.testing.assert_allclose(found / lengths, expected, atol=0.01)


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_the_blocks_of_all_ranks_are_the_centres_of_one_rank_and_each_reads_its_own_images(world_size):
    blocks = []
    for rank in range(world_size):
        faces, classes = Faces(), class_range(len(COLOURS), world_size, rank)
        blocks.append(means(faces, classes))
        assert set(faces.labels[faces.read]) == set(range(classes.start, classes.start + classes.size))
    np.testing.assert_allclose(np.concatenate(blocks), means(Faces()), rtol=1e-6)


def test_no_class_costs_more_images_than_are_asked_for():
    faces = Faces(each=50)
    means(faces, most_images=3)
    assert np.bincount(faces.labels[faces.read]).tolist() == [3] * len(COLOURS)


@pytest.mark.parametrize("each", [1, 4, 5, 6, 23, 1000])
def test_images_of_a_class_are_spread_over_all_that_it_has(each):
    labels = np.repeat([0, 1, 2], each)
    chosen = _chosen_images(labels, ClassRange(1, 2), 5)
    for label in (1, 2):
        places = chosen[labels[chosen] == label] - label * each
        assert len(places) == min(each, 5)
        assert set(np.diff(places)) <= {each // 5, each // 5 + 1}, "at even distances"


def test_what_does_not_decode_does_not_count_and_a_class_of_it_stays_fresh():
    found, whole = means(Faces(broken=[1])), means(Faces())
    np.testing.assert_array_equal(found[1], initial_centers(ALL, 3, seed=0)[1])
    np.testing.assert_array_equal(np.delete(found, 1, axis=0), np.delete(whole, 1, axis=0))


def test_a_volume_that_does_not_answer_is_no_damaged_image():
    class Stale(Faces):
        def image_bytes(self, index):  # noqa: ARG002 - as any data set's
            raise ArcFaceError("stale")

    with pytest.raises(ArcFaceError, match="stale"):
        means(Stale())
