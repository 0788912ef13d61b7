import cv2
import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_trainer.data.loader import BatchLoader
from arcface_trainer.data.sampler import Sampler


class Faces:
    """Twelve flat images whose grey level tells which one it is."""

    def __init__(self, broken=()) -> None:
        self.labels = np.arange(12) % 4
        self.class_count = 4
        self.dropped_identities = 0
        self.broken = broken

    def image_bytes(self, index):
        if index in self.broken:
            return b"not an image"
        return cv2.imencode(".png", np.full((112, 112, 3), 20 * index, np.uint8))[1].tobytes()

    def where(self, index):
        return f"image {index}"


def make_loader(faces, rank=0, world_size=1):
    return BatchLoader(faces, Sampler(12, 4, 3, world_size, rank), "none", threads=2)


def shown(batch):
    return (batch.images[:, 0, 0, 0] // 20).tolist()


def test_an_epoch_shows_every_image_once_with_its_label():
    with make_loader(Faces()) as batches:
        taken = [batches.take(step) for step in range(3)]
    images = [index for batch in taken for index in shown(batch)]
    assert sorted(images) == list(range(12))
    assert [label for batch in taken for label in batch.labels.tolist()] == [index % 4 for index in images]


def test_a_later_start_shows_what_an_uninterrupted_run_shows():
    with make_loader(Faces()) as straight, make_loader(Faces()) as resumed:
        expected = [shown(straight.take(step)) for step in range(6)]
        assert [shown(resumed.take(step)) for step in range(4, 6)] == expected[4:]


def test_two_ranks_together_show_what_one_rank_shows():
    with make_loader(Faces()) as alone, make_loader(Faces(), 0, 2) as first, make_loader(Faces(), 1, 2) as second:
        for step in range(3):
            assert shown(first.take(step)) + shown(second.take(step)) == shown(alone.take(step))


def test_the_next_image_stands_in_for_an_undecodable_one():
    with make_loader(Faces(broken={5})) as batches:
        taken = [batches.take(step) for step in range(3)]
        assert batches.skipped == {5}
    images = [index for batch in taken for index in shown(batch)]
    assert sorted(images) == sorted([*(set(range(12)) - {5}), 6])
    assert [label for batch in taken for label in batch.labels.tolist()] == [index % 4 for index in images]


def test_too_many_undecodable_images_end_the_run():
    with make_loader(Faces(broken=range(12))) as batches, pytest.raises(InvalidInput, match="arcface data verify"):
        batches.take(0)


def test_an_image_that_cannot_be_read_for_now_is_not_taken_for_damaged():
    class Unmounted(Faces):
        def image_bytes(self, _index):
            raise ArcFaceError("train.rec: cannot be read (Stale file handle): this may pass, try again")

    with make_loader(Unmounted()) as batches, pytest.raises(ArcFaceError) as caught:
        batches.take(0)
    assert not isinstance(caught.value, InvalidInput)
    assert batches.skipped == set()
