"""Sizes that images state, against OpenCV's decoder, and bytes that are none."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from arcface_faces.image_header import MOST_BETWEEN, MOST_SCANS, PNG_HEAD, burden, stated_size

PIXELS = np.zeros((37, 250, 3), np.uint8)


def encoded(suffix, *words):
    return cv2.imencode(suffix, PIXELS, words)[1].tobytes()


BASELINE = encoded(".jpg")
EXIF = BASELINE[:2] + b"\xff\xe1\x01\x00" + bytes([0xFF, 0xC0, 0, 17]) + bytes(250) + BASELINE[2:]


@pytest.mark.parametrize(
    "data",
    [
        BASELINE,
        encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(".png"),
        EXIF,
        BASELINE[:2] + b"\xff\xff\xff" + BASELINE[2:],
    ],
    ids=["baseline", "progressive", "png", "frame within a segment", "filled up"],
)
def test_the_size_is_that_of_the_decoder(data):
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (37, 250)
    assert stated_size(io.BytesIO(data)) == (37, 250)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"GIF89a", encoded(".bmp"), b"\xff\xd8\xff\xe0\0\0"]
)
def test_other_bytes_state_nothing(data):
    assert stated_size(io.BytesIO(data)) is None


BETWEEN = BASELINE[:20] + bytes(9) + b"\xff\0" + BASELINE[20:]


def test_bytes_between_segments_are_passed_over_as_libjpeg_does():
    assert cv2.imdecode(np.frombuffer(BETWEEN, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (37, 250)
    assert stated_size(io.BytesIO(BETWEEN)) == (37, 250)


def test_a_file_of_nothing_but_such_bytes_is_not_read_through():
    file = io.BytesIO(b"\xff\xd8" + bytes(10 * MOST_BETWEEN))
    assert stated_size(file) is None
    assert file.tell() <= 2 * MOST_BETWEEN


def scans(count, behind=b""):
    """A progressive JPEG with the last of its scans repeated, as libjpeg takes it, and bytes behind its end."""
    image = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = image.rindex(b"\xff\xda")
    return image[:last] + count * image[last:-2] + image[-2:] + behind


def test_a_jpeg_of_many_scans_is_not_decoded():
    """Each takes as long as the pixels are many: with 65,535 of them a file of 1 MB would take hours."""
    assert burden(scans(MOST_SCANS + 1)) == "it has more than 100 scans; save it anew"
    assert [burden(scans(count)) for count in (0, 1, 50)] == [None] * 3
    # As behind photographs that move, or tell how far things are.
    assert burden(scans(1, behind=b"\xff\xda" * 500)) is None


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_animated_pngs_are_not_decoded():
    """OpenCV 4.11 holds three frames of four bytes a pixel for them beside the image (grfmt_png.cpp)."""
    plain = encoded(".png")
    place = len(PNG_HEAD) + 8 + 5 + 4
    animated = plain[:place] + chunk(b"acTL", struct.pack(">II", 2, 0)) + plain[place:]
    assert burden(animated) == "it is animated; convert it to a plain PNG first"
    assert burden(plain[:place] + chunk(b"tEXt", b"acTL\0acTL") + plain[place:]) is None


def test_a_chunk_that_is_longer_than_the_file_is_told():
    """OpenCV would reserve what its length says, up to 4 GiB."""
    plain = encoded(".png")
    place = plain.index(b"IDAT") - 4
    assert burden(plain[:place] + b"\x7f\xff\xff\xf0" + plain[place + 4 :]) == "it ends too early"
    assert burden(plain) is None


@given(st.binary(max_size=60), st.integers(0, len(BASELINE)))
def test_any_bytes_end(data, cut):
    stated_size(io.BytesIO(BASELINE[:cut] + data))
    burden(BASELINE[:cut] + data)
