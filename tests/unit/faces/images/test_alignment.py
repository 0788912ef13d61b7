"""The transform from landmarks to the template, against cases by hand and Umeyama's own formula."""

import numpy as np
import pytest

from arcface_faces.images.alignment import TEMPLATE, align, similarity_transforms


@pytest.mark.parametrize(
    ("points", "matrix"),
    [
        (TEMPLATE, [[1, 0, 0], [0, 1, 0]]),  # case A1
        (2 * TEMPLATE + (10, 20), [[0.5, 0, -5], [0, 0.5, -10]]),  # case A2
        (TEMPLATE @ [[0, 1], [-1, 0]], [[0, 1, 0], [-1, 0, 0]]),  # a quarter turn
    ],
)
def test_cases_by_hand(points, matrix):
    (found,) = similarity_transforms(np.array([points]))
    assert found == pytest.approx(np.array(matrix, float), abs=1e-12)


def umeyama(points):
    """Umeyama (1991), equations 38 to 43, one set of points at a time."""
    source_mean, target_mean = points.mean(axis=0), TEMPLATE.mean(axis=0)
    source, target = points - source_mean, TEMPLATE - target_mean
    left, sizes, right = np.linalg.svd(target.T @ source / 5)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ np.diag(signs) @ right
    scale = (sizes * signs).sum() / source.var(axis=0).sum()
    return np.column_stack([scale * turn, target_mean - scale * turn @ source_mean])


def test_any_landmarks_give_umeyamas_transform():
    random = np.random.default_rng(3)
    points = np.concatenate(
        [TEMPLATE + random.normal(0, 6, (50, 5, 2)), random.uniform(0, 250, (50, 5, 2)), TEMPLATE[None] * (-1, 1)]
    )
    for found, own in zip(similarity_transforms(points), points, strict=True):
        assert found == pytest.approx(umeyama(own), abs=1e-9)


def test_one_point_five_times_says_nothing():
    assert not np.isfinite(similarity_transforms(np.full((1, 5, 2), 50.0))).all()


def test_landmarks_come_to_lie_on_the_template():
    image = np.zeros((300, 300, 3), np.uint8)
    points = 2 * TEMPLATE + (20, 30)
    for x, y in points.round().astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    (matrix,) = similarity_transforms(np.array([points]))
    found = align(image, matrix)
    assert found.shape == (112, 112, 3)
    for x, y in TEMPLATE.round().astype(int):
        assert found[y, x].min() > 200
    assert (found > 100).all(axis=2).sum() < 5 * 16


def test_what_lies_outside_of_the_image_is_black():
    (matrix,) = similarity_transforms(np.array([TEMPLATE - 60]))
    found = align(np.full((52, 52, 3), 255, np.uint8), matrix)
    assert not found[:50].any()
    assert (found[70:100, 70:100] == 255).all()
