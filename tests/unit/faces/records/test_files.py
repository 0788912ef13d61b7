"""The three files of a set in records: what is read of them, what is refused, what is written."""

import struct

import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.records.files import RecordWriter, read_property
from support import small_volume

# Holds the magic at an aligned and at an odd place of the payload.
AWKWARD = b"\xff\xd8" + b"\x0a\x23\xd7\xce" * 3 + b"tail"
SET = [[b"\xff\xd8one", b"\xff\xd8two!"], [AWKWARD], [b"\xff\xd8" + bytes(range(256))]]


def write(folder, identities=SET):
    with RecordWriter(folder) as writer:
        for images in identities:
            writer.start_identity()
            for image in images:
                writer.add(image)


def test_what_was_written_is_read_back(tmp_path):
    write(tmp_path / "set")
    faces = open_dataset(tmp_path / "set")
    assert faces.labels.tolist() == [0, 0, 1, 2]
    assert [faces.image_bytes(index) for index in range(4)] == [image for one in SET for image in one]


def test_the_layout_is_the_classic_one(tmp_path):
    write(tmp_path / "set")
    offsets = dict(map(int, line.split("\t")) for line in (tmp_path / "set/train.idx").read_text().splitlines())
    data = (tmp_path / "set/train.rec").read_bytes()
    assert list(offsets) == [1, 2, 3, 4, 5, 6, 7, 0]  # images, identities, and key 0 last
    assert struct.unpack_from("<I4xI4xQQ2f", data, offsets[0])[4:] == (5.0, 8.0)
    spans = [struct.unpack_from("<2f", data, offsets[key] + 32) for key in (5, 6, 7)]
    assert spans == [(1, 3), (3, 4), (4, 5)]
    assert (tmp_path / "set/property").read_text() == "3,112,112\n"


def test_nothing_is_written_over(tmp_path):
    write(tmp_path)
    before = (tmp_path / "train.rec").read_bytes()
    with pytest.raises(InvalidInput, match=r"exists already: choose another folder"):
        write(tmp_path, [[b"other"]])
    assert (tmp_path / "train.rec").read_bytes() == before


def test_two_who_write_into_one_folder_write_over_nothing_of_each_other(tmp_path):
    slow = RecordWriter(tmp_path)
    slow.__enter__()
    slow.start_identity()
    slow.add(b"slow")
    write(tmp_path)
    with pytest.raises(InvalidInput, match=r"train\.idx: exists already: choose another folder"):
        slow.__exit__(None, None, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["property", "train.idx", "train.rec"]
    faces = open_dataset(tmp_path)
    assert [faces.image_bytes(index) for index in range(4)] == [image for one in SET for image in one]


def test_a_set_broken_off_leaves_no_file(tmp_path):
    def images():
        yield b"\xff\xd8"
        raise KeyError("no second image")

    with pytest.raises(KeyError):
        write(tmp_path, [images()])
    assert list(tmp_path.iterdir()) == []


def test_an_empty_set_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no image to write"):
        write(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["9" * 5000 + ",112,112", "-3,112,112", "3;112;112", "3,112", "", "3.0,112,112", "3,112,112\x1f"]
)
def test_what_is_no_property_is_refused(tmp_path, text):
    (tmp_path / "property").write_text(text)
    with pytest.raises(InvalidInput, match=r"property: .*is not 'identities,height,width'"):
        read_property(tmp_path / "property")


@pytest.mark.parametrize("left", [0, 40_000], ids=["from the beginning", "in the midst"])
def test_a_volume_that_is_full_is_a_line_and_keeps_no_part_of_a_set(tmp_path, left):
    with small_volume.mounted(tmp_path / "volume") as volume:
        small_volume.fill(volume, left)
        with pytest.raises(ArcFaceError, match=r"cannot be written \(No space left on device\): this may pass"):
            write(volume / "set", [[b"\xff\xd8" + bytes(3000)] * 40])
        assert list((volume / "set").iterdir()) == []
