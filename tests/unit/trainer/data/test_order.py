"""The order of an epoch: sorted words in little memory, once in a process; windows of runs."""

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Barrier

import numpy as np
import pytest

from arcface_trainer.data import order
from arcface_trainer.data.order import RUN, epoch_order, runs_of_window

SIZE, WINDOW = 20 * RUN + 100, 4 * RUN


@pytest.mark.parametrize("size", [1, 2, 63, 64, 1000])
def test_shares_and_blocks_give_the_order_that_one_sort_gives(size, monkeypatch):
    monkeypatch.setattr(order, "BLOCK", 64)
    words = np.random.PCG64(np.random.SeedSequence((5, 2, 1))).random_raw(size)
    np.testing.assert_array_equal(order._full(size, 5, 2), np.argsort(words, kind="stable"))


def test_equal_words_keep_their_places(monkeypatch):
    blocks = [(0, np.array([7, 3, 7], np.uint64)), (3, np.array([3], np.uint64))]
    monkeypatch.setattr(order, "_words", lambda *_: iter(blocks))
    assert order._full(4, 0, 0).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("window", [None, WINDOW])
def test_threads_that_ask_at_once_sort_once(monkeypatch, window):
    made = []
    order._order.cache_clear()
    for name in ("_full", "_windowed"):
        make = getattr(order, name)
        monkeypatch.setattr(order, name, lambda *facts, make=make: (made.append(facts), make(*facts))[1])
    gate = Barrier(8)

    def ask(_):
        gate.wait()
        return epoch_order(SIZE, 1, 0, window)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len(made) == 1
    assert all(answer is answers[0] for answer in answers)


@pytest.mark.parametrize("size", [SIZE, RUN, 10, WINDOW, WINDOW + 1])
def test_windows_hold_every_image_once(size):
    assert sorted(epoch_order(size, 3, 1, WINDOW).tolist()) == list(range(size))


def test_a_window_holds_whole_runs_from_all_over_the_set_shuffled():
    got = epoch_order(16 * RUN, 3, 1, WINDOW)
    starts = []
    for window in got.reshape(-1, WINDOW):
        runs = np.sort(window).reshape(-1, RUN)
        np.testing.assert_array_equal(np.diff(runs), 1)
        starts.append((runs[:, 0] // RUN).tolist())
        # Neighbours in the set are no neighbours in the window: four times as many as by chance would be 4.
        assert (np.diff(window) == 1).sum() < 16
    assert sorted(chain.from_iterable(starts)) == list(range(16))
    assert any(np.diff(runs).max() > 1 for runs in starts)


def test_windows_depend_on_seed_and_epoch_alone():
    first = epoch_order(SIZE, 3, 1, WINDOW).tolist()
    order._order.cache_clear()
    assert epoch_order(SIZE, 3, 1, WINDOW).tolist() == first
    assert epoch_order(SIZE, 3, 2, WINDOW).tolist() != first
    assert epoch_order(SIZE, 4, 1, WINDOW).tolist() != first


def test_the_windowed_order_is_the_same_in_every_release():
    assert epoch_order(1000, 0, 0, RUN)[:8].tolist() == [583, 754, 640, 669, 544, 576, 589, 585]


@pytest.mark.parametrize("size", [SIZE, SIZE - 100])
@pytest.mark.parametrize("window", [WINDOW, WINDOW + 3])
def test_what_is_read_ahead_for_a_window_holds_all_its_images(size, window):
    got = epoch_order(size, 3, 1, window)
    for number in range(-(-size // window)):
        runs = runs_of_window(size, 3, 1, window, number)
        read = {image for start, stop in runs for image in range(start, stop)}
        assert set(got[number * window : (number + 1) * window].tolist()) <= read
        assert len(read) <= window + 3 * RUN
