"""Sizes that images state, against OpenCV's decoder, and bytes that are none."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from arcface_faces.image_header import MOST_BETWEEN, MOST_SCANS, PNG_HEAD, has_many_scans, plain_png, stated_size

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
    assert has_many_scans(scans(MOST_SCANS + 1))
    assert not any(has_many_scans(scans(count)) for count in (0, 1, 50))
    # As behind photographs that move, or tell how far things are.
    assert not has_many_scans(scans(1, behind=b"\xff\xda" * 500))


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(*chunks):
    """A PNG with others behind its first chunk."""
    plain, place = encoded(".png"), len(PNG_HEAD) + 8 + 5 + 4
    return plain[:place] + b"".join(chunks) + plain[place:]


def test_what_does_not_decide_on_the_pixels_is_left_out():
    """OpenCV 4.11 reads chunks of its own accord, and three frames of four bytes a pixel where one says animated."""
    others = chunk(b"tEXt", b"a\0b"), chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"bKGD", b"12345")
    assert plain_png(with_chunks(*others) + b"behind the end") == encoded(".png")
    palette = with_chunks(chunk(b"PLTE", b"rgb"), chunk(b"tRNS", b"a"))
    assert plain_png(palette) == palette


@pytest.mark.parametrize(
    "odd",
    [chunk(b"IHDR", bytes(14)), chunk(b"ABCD"), chunk(bytes(4)), b"\x7f\xff\xff\xf0tEXt", b"\xff\xff\xff\xffIDAT"],
)
def test_chunks_that_have_no_place_are_no_png(odd):
    """Of one that is longer than the file OpenCV would reserve what it says, up to 4 GiB."""
    assert plain_png(with_chunks(odd)) is None


@given(st.binary(max_size=60), st.integers(0, len(BASELINE)))
def test_any_bytes_end(data, cut):
    stated_size(io.BytesIO(BASELINE[:cut] + data))
    has_many_scans(BASELINE[:cut] + data)
    plain_png(PNG_HEAD + data)
