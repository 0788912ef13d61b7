"""A detector of YuNet's form, run by OpenCV as trained ones are: faces of a made model lie where its formula says."""

import pickle

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.image_files.detector import open_detector
from support.builders.face_detector import KEYPOINTS, detector_model
from support.builders.onnx_model import corner_model


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return open_detector(detector_model(tmp_path_factory.mktemp("detector") / "made.onnx"))


def shown(height, width, *cells):
    """A black image whose 32x32 cells (row, column) are red, in this strength."""
    image = np.zeros((height, width, 3), np.uint8)
    for row, column, strength in cells:
        image[32 * row : 32 * row + 32, 32 * column : 32 * column + 32, 0] = strength
    return image


def points_at(row, column):
    return 32 * (np.array([column, row]) + KEYPOINTS)


def test_landmarks_lie_where_the_network_has_them(detector):
    found = detector.landmarks(shown(160, 224, (2, 4, 255)), "a.png")
    np.testing.assert_allclose(found, points_at(2, 4), atol=1e-3)


def test_of_several_faces_the_central_one_is_taken(detector):
    image = shown(320, 320, (1, 1, 255), (5, 5, 240), (9, 2, 255))
    np.testing.assert_allclose(detector.landmarks(image, "a.png"), points_at(5, 5), atol=1e-3)


def test_a_large_image_is_looked_at_in_small(detector):
    large = shown(160, 320, (2, 4, 255)).repeat(8, axis=0).repeat(8, axis=1)  # 2560 wide: a quarter is looked at
    np.testing.assert_allclose(detector.landmarks(large, "a.png"), 4 * points_at(4, 8), atol=32 * 4)


def test_an_image_without_a_face_is_named(detector):
    with pytest.raises(InvalidInput, match=r"a\.png: made\.onnx finds no face in it"):
        detector.landmarks(shown(112, 112), "a.png")


def test_it_crosses_to_other_processes(detector):
    other = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(other.landmarks(shown(160, 160, (2, 2, 255)), "a.png"), points_at(2, 2), atol=1e-3)


@pytest.mark.parametrize("side", [1, 7, 33])
def test_tiny_images_have_no_face(detector, side):
    with pytest.raises(InvalidInput, match="no face"):
        detector.landmarks(shown(side, 2 * side), "a.png")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.write_text("no model"), id="text"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(corner_model, id="another network"),
        pytest.param(lambda path: detector_model(path, kinds=("cls", "obj", "bbox")), id="no points"),
        pytest.param(lambda path: detector_model(path, columns=8), id="four points"),
    ],
)
def test_what_is_no_detector_is_one_line(tmp_path, make):
    make(tmp_path / "other.onnx")
    with pytest.raises(InvalidInput, match=r"other\.onnx: .*it is no detector of YuNet's form") as told:
        open_detector(tmp_path / "other.onnx")
    assert "\n" not in str(told.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"none\.onnx: cannot be read .*correct --detector"):
        open_detector(tmp_path / "none.onnx")
