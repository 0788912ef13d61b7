import errno

import cv2
import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.datasets.convert import pack_folder, unpack_records
from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.datasets.image_folder import ImageFolderDataset
from support.builders.verification_set import encoded_image, noise_image

FILES = ("train.rec", "train.idx", "property")


def silent(_count):
    return None


def image_folder(root, counts=(3, 1, 2)):
    for identity, count in enumerate(counts):
        folder = root / f"person-{identity}"
        folder.mkdir(parents=True)
        for number in range(count):
            image = noise_image(10 * identity + number)
            suffix = ".jpg" if number % 2 else ".png"
            (folder / f"{number}{suffix}").write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    return root


def pack(images, out, **options):
    return pack_folder(ImageFolderDataset.open(images, 1), out, 2, silent, **options)


def test_packing_keeps_every_byte(tmp_path):
    images = image_folder(tmp_path / "images")
    assert pack(images, tmp_path / "set") == 0
    folder, records = ImageFolderDataset.open(images, 1), open_dataset(tmp_path / "set")
    assert records.labels.tolist() == folder.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert [records.image_bytes(i) for i in range(6)] == [folder.image_bytes(i) for i in range(6)]


def test_unpacked_and_packed_again_the_set_is_the_same(tmp_path):
    pack(image_folder(tmp_path / "images"), tmp_path / "set")
    unpack_records(open_dataset(tmp_path / "set"), tmp_path / "unpacked", silent)
    pack(tmp_path / "unpacked", tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "set" / name).read_bytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(encoded_image(1, 104, 112), "112x104", id="other size"),
        pytest.param(b"\xff\xd8 no image", "does not decode", id="damaged"),
        pytest.param(cv2.imencode(".bmp", noise_image(1))[1].tobytes(), "neither JPEG nor PNG", id="bitmap"),
    ],
)
def test_a_bad_image_is_named_or_skipped(tmp_path, data, reason):
    images = image_folder(tmp_path / "images")
    bad = images / "person-1" / "0.png"
    bad.write_bytes(data)
    with pytest.raises(InvalidInput, match=reason) as error:
        pack(images, tmp_path / "set")
    assert str(bad) in str(error.value)
    assert list((tmp_path / "set").iterdir()) == []
    assert pack(images, tmp_path / "set", skip_bad=True) == 1
    # person-1 has no other image and takes no number.
    assert open_dataset(tmp_path / "set").labels.tolist() == [0, 0, 0, 1, 1]


def test_unpacking_writes_over_nothing(tmp_path):
    pack(image_folder(tmp_path / "images"), tmp_path / "set")
    unpack_records(open_dataset(tmp_path / "set"), tmp_path / "out", silent)
    with pytest.raises(InvalidInput, match="exists already"):
        unpack_records(open_dataset(tmp_path / "set"), tmp_path / "out", silent)


def test_unpacking_that_fails_leaves_nothing_that_looks_like_a_set(tmp_path):
    pack(image_folder(tmp_path / "images"), tmp_path / "set")

    def fill_the_disk(_count):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArcFaceError, match="cannot be written"):
        unpack_records(open_dataset(tmp_path / "set"), tmp_path / "out", fill_the_disk)
    assert list((tmp_path / "out").iterdir()) == []
    unpack_records(open_dataset(tmp_path / "set"), tmp_path / "out", silent)
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["0000000", "0000001", "0000002"]
