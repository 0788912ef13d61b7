"""The order of the images over ranks and steps, and their batches."""

import cv2
import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_trainer.data.loader import BatchLoader, Sampler
from arcface_trainer.data.order import epoch_order
from arcface_trainer.data.split import PADDING


def joined(sampler_of_rank, world_size, step):
    """The batch of all ranks, one behind the other."""
    plans = [sampler_of_rank(rank, world_size).batch(step) for rank in range(world_size)]
    return (
        np.concatenate([plan.indices[plan.is_image] for plan in plans]),
        np.concatenate([plan.positions[plan.is_image] for plan in plans]),
    )


def sampler(rank=0, world_size=1, *, size=50, batch=8, seed=3):
    return Sampler(size, batch, seed, world_size, rank)


@pytest.mark.parametrize("world_size", [2, 3, 4, 5, 8])
def test_the_joined_batch_does_not_depend_on_the_number_of_ranks(world_size):
    for step in range(15):
        expected, got = joined(sampler, 1, step), joined(sampler, world_size, step)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_no_image_is_seen_twice_in_an_epoch(world_size):
    first = sampler()
    seen = np.concatenate([joined(sampler, world_size, step)[0] for step in range(first.steps_per_epoch)])
    assert len(seen) == 48
    assert len(set(seen.tolist())) == 48
    assert set(seen.tolist()) <= set(range(50))


def test_the_remainder_of_an_epoch_is_left_out_and_another_one_each_time():
    first = sampler()
    left_out = [set(range(50)) - set(first.permutation(epoch)[:48].tolist()) for epoch in range(20)]
    assert {len(images) for images in left_out} == {2}
    assert len(set().union(*left_out)) > 10


def test_steps_go_on_across_epochs():
    plans = [sampler().batch(step) for step in range(13)]
    assert [plan.epoch for plan in plans] == [0] * 6 + [1] * 6 + [2]
    assert plans[6].positions.tolist() == list(range(8))
    assert plans[11].positions.tolist() == list(range(40, 48))
    assert plans[0].indices.tolist() != plans[6].indices.tolist()


@pytest.mark.parametrize("resumed_at", [0, 1, 5, 6, 7, 13])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_a_resumed_run_takes_what_a_straight_one_takes(resumed_at, world_size):
    straight = [joined(sampler, 1, step)[0] for step in range(18)]
    resumed = [joined(sampler, world_size, step)[0] for step in range(resumed_at, 18)]
    np.testing.assert_array_equal(resumed, straight[resumed_at:])


@pytest.mark.parametrize("window", [None, 16])
def test_eight_ranks_then_three_then_eight_take_every_image_of_every_step_once(window):
    """Killed after steps 7 and 20, in the middle of an epoch of 12; each rank has room for 4 images at once."""
    gangs = [8] * 8 + [3] * 13 + [8] * 15
    for step, world_size in enumerate(gangs):
        shares = [Sampler(100, 8, 3, world_size, rank, 4, window).batch(step) for rank in range(world_size)]
        epoch, first = step // 12, step % 12 * 8
        expected = epoch_order(100, 3, epoch, window)[first : first + 8].tolist()
        assert [image for share in shares for image in share.indices[share.is_image].tolist()] == expected
        assert {share.epoch for share in shares} == {epoch}
        assert len({len(share.indices) for share in shares}) == 1, "all ranks compile one shape"
    seen = [epoch_order(100, 3, epoch, window)[:96].tolist() for epoch in range(3)]
    assert [len(set(images)) for images in seen] == [96] * 3


def test_the_order_is_the_same_on_every_machine_and_numpy():
    assert Sampler(10, 2, seed=0).permutation(0).tolist() == [7, 6, 4, 5, 3, 9, 1, 0, 2, 8]
    assert Sampler(10, 2, seed=7).permutation(3).tolist() == [1, 9, 6, 5, 0, 7, 2, 8, 3, 4]


def test_the_order_follows_the_sorted_words_of_pcg64():
    words = by_hand(seed=7, epoch=3, count=1000)
    expected = sorted(range(1000), key=words.__getitem__)
    assert Sampler(1000, 2, seed=7).permutation(3).tolist() == expected


def by_hand(seed, epoch, count):
    """PCG64 (XSL-RR, O'Neill 2014) on Python integers, begun with the state that NumPy's seeding gives."""
    state = np.random.PCG64(np.random.SeedSequence((seed, epoch, 1))).state["state"]
    value, increment, words = state["state"], state["inc"], []
    for _ in range(count):
        value = (value * 0x2360ED051FC65DA44385DF649FCCF645 + increment) % 2**128
        folded, turn = (value >> 64) ^ (value % 2**64), value >> 122
        words.append((folded >> turn | folded << (64 - turn)) % 2**64)
    return words


@pytest.mark.parametrize("other", [{"seed": 4}, {"size": 51}], ids=["seed", "size"])
def test_the_order_depends_on_the_seed_and_the_set(other):
    assert sampler(**other).permutation(0)[:48].tolist() != sampler().permutation(0)[:48].tolist()


def test_every_place_is_equally_likely():
    firsts = np.bincount([Sampler(5, 1, seed).permutation(0)[0] for seed in range(2000)], minlength=5)
    # Four standard deviations of a binomial around 400.
    assert np.abs(firsts - 400).max() < 4 * np.sqrt(2000 * 0.2 * 0.8)


def test_the_order_cannot_be_changed_by_who_reads_it():
    with pytest.raises(ValueError, match="read-only"):
        sampler().permutation(0)[0] = 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param((50, 8, -1, 1, 0), "training.seed -1 is negative", id="seed"),
        pytest.param((50, 8, 0, 2, 2), "rank 2 lies outside the world of 2 ranks", id="rank"),
        pytest.param((50, 8, 0, 9, 0), "total batch of 8 images cannot be shared by 9 ranks", id="many ranks"),
        pytest.param((50, 0, 0, 1, 0), "total batch of 0 images cannot be shared", id="empty batch"),
        pytest.param((7, 8, 0, 1, 0), "7 images do not fill one total batch of 8", id="small set"),
    ],
)
def test_impossible_plans_are_refused(arguments, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        Sampler(*arguments)


def test_a_negative_step_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="step -1 is negative"):
        sampler().batch(-1)


class Faces:
    """Twelve flat images whose grey level tells which one it is."""

    def __init__(self, broken=()) -> None:
        self.labels = np.arange(12) % 4
        self.class_count = 4
        self.dropped_identities = 0
        self.broken = broken
        self.read = []

    def read_ahead(self, start, stop):
        self.read.append((start, stop))

    def image_bytes(self, index):
        if index in self.broken:
            return b"not an image"
        return cv2.imencode(".png", np.full((112, 112, 3), 20 * index, np.uint8))[1].tobytes()

    def where(self, index):
        return f"image {index}"


def make_loader(faces, rank=0, world_size=1, most_at_once=None):
    return BatchLoader(faces, Sampler(12, 4, 3, world_size, rank, most_at_once), "none", threads=2)


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


def test_rows_that_fill_up_show_the_image_before_them_under_no_label():
    with make_loader(Faces()) as alone, make_loader(Faces(), rank=2, world_size=3) as last:
        whole, share = alone.take(0), last.take(0)
    assert shown(share) == [shown(whole)[3]] * 2
    assert share.labels.tolist() == [whole.labels[3], PADDING]
    assert (share.image_count, whole.image_count) == (1, 4)


def test_micro_batches_of_a_rank_are_its_images_in_their_order():
    with make_loader(Faces()) as at_once, make_loader(Faces(), most_at_once=2) as in_parts:
        assert shown(in_parts.take(1)) == shown(at_once.take(1))
        assert in_parts.sampler.split.micro_batches == 2


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


def test_each_window_is_read_ahead_once_while_the_one_before_is_taken():
    steps = Sampler(40 * 256, 100, 3, window=4096)
    ahead = [steps.runs_ahead(step) for step in range(steps.steps_per_epoch)]
    # Windows begin at positions 0, 4096 and 8192; the first two are read at the start, the third during the second.
    assert [step for step, runs in enumerate(ahead) if runs] == [0, 41]
    assert {run for runs in ahead for run in runs} == {(start, start + 256) for start in range(0, 40 * 256, 256)}
    assert Sampler(40 * 256, 100, 3).runs_ahead(0) == []


def test_the_loader_has_the_images_of_its_windows_read():
    faces = Faces()
    with BatchLoader(faces, Sampler(12, 4, 3, window=8), "none", threads=2) as batches:
        for step in range(3):
            batches.take(step)
    assert faces.read[0] == (0, 12)


def test_a_batch_holds_the_pixels_of_its_images_as_planes_of_red_green_and_blue():
    class Coloured(Faces):
        def image_bytes(self, index):
            pixels = np.random.default_rng(index).integers(0, 256, (112, 112, 3)).astype(np.uint8)
            return cv2.imencode(".png", pixels)[1].tobytes()

    faces = Coloured()
    with make_loader(faces) as batches:
        images = batches.take(0).images
    for image, index in zip(images, Sampler(12, 4, 3).batch(0).indices.tolist(), strict=True):
        blue_first = cv2.imdecode(np.frombuffer(faces.image_bytes(index), np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(image, blue_first[:, :, ::-1].transpose(2, 0, 1))
