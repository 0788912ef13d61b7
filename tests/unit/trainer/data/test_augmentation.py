import cv2
import numpy as np
import pytest

from arcface_trainer.data.augmentation import DRAWS, augment, step_draws

IMAGE = np.random.Generator(np.random.PCG64(5)).integers(0, 256, (112, 112, 3), dtype=np.uint8)


BATCH = 8


def draws_at(position, seed=1, epoch=2):
    return step_draws(seed, epoch, position // BATCH, BATCH)[position % BATCH].tolist()


def augmented(kind, seed=1, epoch=2, position=3, image=IMAGE):
    return augment(image, kind, draws_at(position, seed, epoch))


@pytest.mark.parametrize("kind", ["none", "flip", "strong"])
def test_a_image_comes_out_the_same_at_the_same_place_of_a_run(kind):
    for position in range(20):
        np.testing.assert_array_equal(augmented(kind, position=position), augmented(kind, position=position))


@pytest.mark.parametrize("other", [{"seed": 2}, {"epoch": 3}, {"position": 4}], ids=["seed", "epoch", "position"])
def test_another_place_of_a_run_changes_it_otherwise(other):
    assert not np.array_equal(augmented("strong", **other), augmented("strong"))


def test_neighbouring_places_have_other_numbers():
    draws = [step_draws(*place, BATCH) for place in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1)]]
    assert len(set(np.concatenate(draws).ravel().tolist())) == 5 * BATCH * DRAWS


def test_numbers_are_spread_evenly():
    """Each of the ten over 4,096 images: mean and variance of a uniform one, within five standard errors."""
    draws = step_draws(3, 1, 4, 4096)
    np.testing.assert_allclose(draws.mean(axis=0), 0.5, atol=5 * np.sqrt(1 / 12 / 4096))
    np.testing.assert_allclose(draws.var(axis=0), 1 / 12, atol=5 * np.sqrt(1 / 180 / 4096))


@pytest.mark.parametrize("kind", ["none", "flip", "strong"])
@pytest.mark.parametrize("shape", [(112, 112, 3), (40, 64, 3), (1, 1, 3)])
def test_shape_and_type_are_kept_and_the_original_too(kind, shape):
    image = np.resize(IMAGE, shape)
    before = image.copy()
    for position in range(30):
        changed = augmented(kind, position=position, image=image)
        assert (changed.shape, changed.dtype) == (shape, np.uint8)
        assert changed.flags.c_contiguous
    np.testing.assert_array_equal(image, before)


def test_none_is_the_image_itself():
    assert augmented("none") is IMAGE


def test_flip_mirrors_about_half_of_the_images_and_changes_nothing_else():
    mirrored = 0
    for position in range(400):
        changed = augmented("flip", position=position)
        is_mirrored = np.array_equal(changed, IMAGE[:, ::-1])
        assert is_mirrored or np.array_equal(changed, IMAGE)
        mirrored += is_mirrored
    # Four standard deviations of a fair coin.
    assert abs(mirrored - 200) < 40


def test_strong_mirrors_the_same_images_as_flip():
    """So that both kinds compare on the same draw: an image with a bright left half keeps or loses it in both."""
    half = np.zeros((112, 112, 3), np.uint8)
    half[:, :56] = 255
    for position in range(60):
        strong, flip = (augmented(kind, position=position, image=half) for kind in ("strong", "flip"))
        assert is_left_brighter(strong) == is_left_brighter(flip)


def is_left_brighter(image):
    return image[:, :40].mean() > image[:, -40:].mean()


def test_strong_keeps_a_face_recognisable():
    """Smooth images stay much closer to themselves, mirrored or not, than to another one."""
    smooth = [cv2.GaussianBlur(np.roll(IMAGE, shift, (0, 1)), (0, 0), 8) for shift in (0, 50)]
    stretched = [cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX) for image in smooth]
    for position in range(40):
        changed = augmented("strong", position=position, image=stretched[0])
        own = max(correlation(changed, stretched[0]), correlation(changed, stretched[0][:, ::-1]))
        other = max(correlation(changed, stretched[1]), correlation(changed, stretched[1][:, ::-1]))
        assert own > 0.5 > other


def correlation(one, other):
    grey = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).ravel() for image in (one, other)]
    return np.corrcoef(grey)[0, 1]


def test_strong_turns_some_images_grey():
    greys = sum(is_grey(augmented("strong", position=position)) for position in range(400))
    # 15 in 100, within four standard deviations.
    assert abs(greys - 60) < 29


def is_grey(image):
    return bool((image == image[:, :, :1]).all())


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no augmentation 'flipp': none, flip or strong"):
        augmented("flipp")
