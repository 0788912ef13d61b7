"""From landmarks to the aligned image that networks were trained on.

The similarity (turn, scale, shift; no reflection) that takes five landmarks to the template with the least sum of
squared distances, as of Umeyama (1991). In the plane it has a closed form: with points as complex numbers it is
w = a z + b, and a = sum(conj(z) w) / sum(|z|^2) for points taken from their means.
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from arcface_faces.images.decoding import cv2
from arcface_faces.images.face_input import IMAGE_SIZE, LANDMARKS

TEMPLATE: NDArray[np.float64] = np.array(LANDMARKS)


def similarity_transforms(points_N52: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (N, 2, 3) that take points (x, y) of an image to the template.

    NaN where the five points are one, which says nothing about scale and turn.
    """
    points, targets = _complex(points_N52), _complex(TEMPLATE)
    point_mean, target_mean = points.mean(axis=1, keepdims=True), targets.mean()
    centred = points - point_mean
    with np.errstate(invalid="ignore", divide="ignore"):
        turn = (centred.conj() * (targets - target_mean)).sum(axis=1) / (np.abs(centred) ** 2).sum(axis=1)
    shift = target_mean - turn * point_mean[:, 0]
    rows = [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]]
    return np.moveaxis(np.array(rows), 2, 0)


def align(image: NDArray[np.uint8], matrix_23: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image (112, 112, 3) that a network takes: bilinear, black where there is nothing."""
    warped = cv2.warpAffine(image, matrix_23, (IMAGE_SIZE, IMAGE_SIZE), flags=cv2.INTER_LINEAR)
    return cast("NDArray[np.uint8]", warped)


def _complex(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(points[..., 0] + 1j * points[..., 1], np.complex128)
