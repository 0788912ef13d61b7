"""The one place that imports OpenCV, which reads its limits when it is loaded.

An image of a few kilobytes may announce a billion pixels; OpenCV's own limit would let it take gigabytes.
"""

import os

MOST_PIXELS = 1 << 26
"""Of an image that is decoded; a face has 12,544."""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))

import cv2  # noqa: E402 - only now

__all__ = ["MOST_PIXELS", "cv2"]
