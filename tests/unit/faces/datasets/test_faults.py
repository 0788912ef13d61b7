"""What is wrong with images: those that decode to the right size, too."""

import multiprocessing

import cv2
import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, ExitCode
from arcface_faces.datasets.dataset import open_dataset
from arcface_faces.datasets.faults import TASK, TASKS_AHEAD, StoredImages, faults
from arcface_faces.images import decode_any_size
from arcface_faces.records.files import RecordWriter


def drawn(seed):
    """A smooth image with some noise, as a camera's: noise alone leaves a JPEG no redundancy."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (7, 7, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (112, 112), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(smooth + random.integers(-8, 8, smooth.shape), 0, 255).astype(np.uint8)


def encoded(suffix, seed=0, *options):
    return cv2.imencode(suffix, drawn(seed), options)[1].tobytes()


JPEG, PNG = encoded(".jpg"), encoded(".png")
PROGRESSIVE = encoded(".jpg", 0, cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 4)


def with_zeros(data, start, stop):
    return data[:start] + bytes(stop - start) + data[stop:]


def with_a_flipped_bit(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


SOUND = {
    "jpeg": JPEG,
    "progressive with restarts": PROGRESSIVE,
    "png": PNG,
    "black": cv2.imencode(".jpg", np.zeros((112, 112, 3), np.uint8), (cv2.IMWRITE_JPEG_OPTIMIZE, 1))[1].tobytes(),
    "padding behind the end": JPEG + bytes(3),
    "an FF in front of a marker": JPEG.replace(b"\xff\xda", b"\xff\xff\xda", 1),
    "a comment with an end in it": JPEG[:2] + b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" + JPEG[2:],
}
LOST = {
    "second half zeros": with_zeros(JPEG, len(JPEG) // 2, len(JPEG)),
    "a hole of zeros": with_zeros(JPEG, len(JPEG) // 2, len(JPEG) * 3 // 4),
    "a hole that decodes quietly": with_zeros(JPEG, len(JPEG) // 2, len(JPEG) // 2 + 200),
    "cut short": JPEG[: len(JPEG) * 2 // 3],
    "without its end": JPEG[:-2],
    "progressive, second half zeros": with_zeros(PROGRESSIVE, len(PROGRESSIVE) // 2, len(PROGRESSIVE)),
    "png, second half zeros": with_zeros(PNG, len(PNG) // 2, len(PNG)),
    "png, one bit": with_a_flipped_bit(PNG, len(PNG) // 2),
    "png cut short": PNG[: len(PNG) * 2 // 3],
    "no image": b"\xff\xd8 no image",
    "empty": b"",
}


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """Faults by the name of the image, all of them checked by two processes."""
    folder = tmp_path_factory.mktemp("set") / "identity"
    folder.mkdir()
    for name, data in {**SOUND, **LOST}.items():
        (folder / f"{name}.jpg").write_bytes(data)
    advances = []
    found = list(faults(StoredImages.of(open_dataset(folder.parent)), 2, advances.append))
    assert sum(advances) == len(SOUND) + len(LOST)
    assert found == sorted(found)
    return {line.partition(".jpg: ")[0].rpartition("/")[2]: line for line in found}


@pytest.mark.parametrize("name", SOUND)
def test_sound_images_pass(lines, name):
    assert lines.get(name) is None


@pytest.mark.parametrize("name", LOST)
def test_images_with_a_part_lost_are_named(lines, name):
    assert name in lines
    assert "\n" not in lines[name]


def test_a_line_tells_what_the_decoder_complains_of(lines):
    assert "decodes, but a part of the image is lost (Corrupt JPEG data" in lines["a hole of zeros"]


def test_a_fault_in_records_tells_key_and_byte(tmp_path):
    with RecordWriter(tmp_path) as writer:
        writer.start_identity()
        for data in (JPEG, LOST["a hole of zeros"]):
            writer.add(data)
    faces = open_dataset(tmp_path)
    (fault,) = faults(StoredImages.of(faces), 1, lambda _: None)
    assert f"train.rec key 2 at byte {faces.index.columns['offsets'][1]}: " in fault


def test_what_is_too_many_zeros_depends_on_the_size():
    """A large black image has more of them than a hole in a small one."""
    black = cv2.imencode(".jpg", np.zeros((600, 800, 3), np.uint8), (cv2.IMWRITE_JPEG_OPTIMIZE, 1))[1].tobytes()
    assert bytes(160) in black
    large = cv2.imencode(".jpg", cv2.resize(drawn(1), (800, 600)))[1].tobytes()
    images = [black, with_zeros(large, len(large) // 2, len(large) // 2 + 8000)]
    stored = StoredImages(2, lambda number: (images[number], f"image {number}"), decode_any_size)
    (fault,) = faults(stored, 1, lambda _: None)
    assert fault.startswith("image 1: decodes, but a part of the image is lost (")


def test_a_decoder_that_is_ended_leaves_a_line_and_no_traceback(tmp_path):
    """As the kernel does where memory is short."""
    (tmp_path / "identity").mkdir()
    for number in range(TASK * TASKS_AHEAD + 1):
        (tmp_path / "identity" / f"{number:03}.jpg").write_bytes(JPEG)

    def end_decoders(_count):
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(ArcFaceError, match=r"\.jpg or one of 255 images behind it: free memory") as error:
        list(faults(StoredImages.of(open_dataset(tmp_path)), 1, end_decoders))
    assert error.value.exit_code == ExitCode.FAILED
