"""First keys of identities beyond what float32 counts, against the keys before they were stored."""

import numpy as np
import pytest

from arcface_faces.records.identity_bounds import exact_bounds

IDENTITIES = 100_000


@pytest.fixture(scope="module")
def bounds():
    """Of 40 million images: numbers stand for up to five keys each; every tenth identity has no image."""
    counts = np.random.default_rng(7).geometric(1 / 445, IDENTITIES)
    counts[::10] = 0
    counts[5::1000] = 1
    found = np.append(1, 1 + np.cumsum(counts))
    assert 2**25 < found[-1] < 2**26
    return found


def stored(bounds):
    return bounds[:-1].astype(np.float32).astype(np.float64)


class Heads:
    """The images' own heads, which count how many of them are asked."""

    def __init__(self, bounds):
        self.bounds = bounds
        self.asked = 0

    def __call__(self, keys):
        self.asked += len(keys)
        assert (np.diff(keys) > 0).all()
        assert (keys >= 1).all()
        assert (keys < self.bounds[-1]).all()
        return (np.searchsorted(self.bounds, keys, side="right") - 1).astype(np.float32)


def test_the_heads_about_a_first_key_tell_it_exactly(bounds):
    heads = Heads(bounds)
    assert not np.array_equal(stored(bounds), bounds[:-1])
    assert np.array_equal(exact_bounds(stored(bounds), int(bounds[-1]), heads), bounds)
    assert heads.asked < 4 * IDENTITIES


def test_nobody_is_asked_where_float32_is_exact():
    bounds = np.array([1, 3, 3, 2**24])
    heads = Heads(bounds)
    assert np.array_equal(exact_bounds(stored(bounds), int(bounds[-1]), heads), bounds)
    assert heads.asked == 0


def test_images_that_number_people_otherwise_tell_no_bounds(bounds):
    heads = Heads(bounds)
    assert exact_bounds(stored(bounds), int(bounds[-1]), lambda keys: heads(keys) + 1) is None


def test_a_damaged_head_moves_no_image_but_its_own(bounds):
    """Its reader is told of that one, whose head then names another person than the bounds."""
    damaged = []

    def heads(keys):
        labels = Heads(bounds)(keys)
        labels[len(keys) // 2] += 2**16
        damaged.append(keys[len(keys) // 2])
        return labels

    found = exact_bounds(stored(bounds), int(bounds[-1]), heads)
    moved = np.flatnonzero(found != bounds)
    assert np.minimum(found, bounds)[moved].tolist() in ([], damaged)
    assert np.abs(found - bounds).sum() <= 1
