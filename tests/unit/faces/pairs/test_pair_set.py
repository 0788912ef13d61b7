import pickle

import cv2
import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.images import decode_scaled
from arcface_faces.pairs import pair_set as pair_sets
from arcface_faces.pairs.pair_set import read_pair_set
from support.builders.verification_set import encoded_image, noise_image, write_pairs, write_set

JPEG = cv2.imencode(".jpg", noise_image(1))[1].tobytes()
HALF_A_JPEG = JPEG[: len(JPEG) // 2]


def test_images_come_as_rgb_in_the_order_of_the_file(tmp_path):
    pair_set = read_pair_set(write_pairs(tmp_path / "few.bin", pairs=3))
    assert (pair_set.name, len(pair_set), pair_set.is_same.tolist()) == ("few", 6, [True, False, True])
    for found, seed in zip(map(pair_set.image, range(6)), [0, 0, 2, 3, 4, 4], strict=True):
        np.testing.assert_array_equal(found, noise_image(seed))


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        pytest.param(3, 2, "holds 3 images, an odd number", id="odd"),
        pytest.param(4, 3, "holds 4 images but 3 truth values; they should be 2", id="labels do not fit"),
        pytest.param(0, 0, "holds no images", id="empty"),
    ],
)
def test_counts_that_make_no_pairs_are_refused(tmp_path, images, labels, told):
    path = write_set(tmp_path / "bad.bin", [b"x"] * images, [True] * labels)
    with pytest.raises(InvalidInput, match=rf"bad\.bin: {told}"):
        read_pair_set(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"", "does not decode", id="empty"),
        pytest.param(b"no image", "does not decode", id="text"),
        pytest.param(encoded_image(1)[:40], "does not decode", id="cut short in its header"),
        pytest.param(HALF_A_JPEG, "does not decode", id="cut short in its pixels"),
        pytest.param(encoded_image(1, height=112, width=96), "the image is 96x112 and not 112x112", id="not square"),
        pytest.param(encoded_image(1, 224, 224), "the image is 224x224 and not 112x112: .*--resize", id="square"),
    ],
)
def test_bad_image_is_named_by_file_and_number(tmp_path, data, told):
    pair_set = read_pair_set(write_set(tmp_path / "bad.bin", [encoded_image(0), data], [True]))
    with pytest.raises(InvalidInput, match=rf"bad\.bin: image 1: {told}"):
        list(map(pair_set.image, range(len(pair_set))))


def test_an_image_that_is_not_square_is_not_scaled(tmp_path):
    pair_set = read_pair_set(write_set(tmp_path / "wide.bin", [encoded_image(1, 224, 232)] * 2, [True]), decode_scaled)
    with pytest.raises(InvalidInput, match=r"wide\.bin: image 0: the image is 232x224; it must be 112x112 or square"):
        pair_set.image(0)


def test_square_image_is_scaled_as_the_reference_does(tmp_path):
    stored = write_set(tmp_path / "big.bin", [encoded_image(5, 224, 224)] * 2, [True])
    pair_set = read_pair_set(stored, decode_scaled)
    expected = cv2.resize(noise_image(5, 224, 224), (112, 112), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(pair_set.image(0), expected)


def test_grey_image_has_three_equal_channels(tmp_path):
    grey = cv2.imencode(".png", np.full((112, 112), 77, np.uint8))[1].tobytes()
    pair_set = read_pair_set(write_set(tmp_path / "grey.bin", [grey] * 2, [True]))
    np.testing.assert_array_equal(pair_set.image(1), np.full((112, 112, 3), 77))


WRITTEN = [b"a", b"b", b"a", b"c"]


def test_a_set_is_a_pickle_of_images_and_of_who_is_the_same(tmp_path):
    pair_sets.write_pairs(tmp_path / "lfw.bin", WRITTEN, [True, False])
    data = (tmp_path / "lfw.bin").read_bytes()
    assert data[:2] == b"\x80\x04"
    assert pickle.loads(data) == (WRITTEN, [True, False])
    assert [path.name for path in tmp_path.iterdir()] == ["lfw.bin"]


def test_a_set_is_not_written_over(tmp_path):
    pair_sets.write_pairs(tmp_path / "lfw.bin", WRITTEN, [True, False])
    with pytest.raises(InvalidInput, match=r"lfw\.bin: exists already"):
        pair_sets.write_pairs(tmp_path / "lfw.bin", WRITTEN, [False, False])


def test_two_images_a_pair(tmp_path):
    with pytest.raises(ValueError, match="4 images for 1 pairs"):
        pair_sets.write_pairs(tmp_path / "lfw.bin", WRITTEN, [True])
