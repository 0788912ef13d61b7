"""Sizes that images state, against OpenCV's decoder, and bytes that are none."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from arcface_faces.image_files.header import stated_size

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


@given(st.binary(max_size=60), st.integers(0, len(BASELINE)))
def test_any_bytes_end(data, cut):
    stated_size(io.BytesIO(BASELINE[:cut] + data))
