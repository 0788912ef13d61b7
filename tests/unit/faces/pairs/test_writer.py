import pickle

import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.pairs.writer import write_pairs

IMAGES = [b"a", b"b", b"a", b"c"]


def test_a_set_is_a_pickle_of_images_and_of_who_is_the_same(tmp_path):
    write_pairs(tmp_path / "lfw.bin", IMAGES, [True, False])
    data = (tmp_path / "lfw.bin").read_bytes()
    assert data[:2] == b"\x80\x04"
    assert pickle.loads(data) == (IMAGES, [True, False])
    assert [path.name for path in tmp_path.iterdir()] == ["lfw.bin"]


def test_a_set_is_not_written_over(tmp_path):
    write_pairs(tmp_path / "lfw.bin", IMAGES, [True, False])
    with pytest.raises(InvalidInput, match=r"lfw\.bin: exists already"):
        write_pairs(tmp_path / "lfw.bin", IMAGES, [False, False])


def test_two_images_a_pair(tmp_path):
    with pytest.raises(ValueError, match="4 images for 1 pairs"):
        write_pairs(tmp_path / "lfw.bin", IMAGES, [True])
