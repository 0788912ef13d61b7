"""One description of how images are prepared for manifests, ONNX metadata and MindIR; older ones are read, too."""

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.images.face_input import LANDMARKS, OWN_PREPROCESSING, Preprocessing

AS_WRITTEN_BEFORE = (
    '{"height":112,"width":112,"channels":"RGB","mean":127.5,"scale":127.5,"landmarks":[[38.2946,51.6963],'
    "[73.5318,51.5014],[56.0252,71.7366],[41.5493,92.3655],[70.7299,92.2041]]}"
)


def test_what_was_written_before_is_read_and_written_alike():
    assert Preprocessing.from_json(AS_WRITTEN_BEFORE, "manifest.json") == OWN_PREPROCESSING
    assert OWN_PREPROCESSING.to_json() == AS_WRITTEN_BEFORE


def test_a_model_of_others_says_what_matters_and_may_say_more():
    found = Preprocessing.from_json('{"mean": 1, "scale": 2, "channels": "BGR", "crop": 3}', "model.onnx")
    assert (found.channels, found.mean, found.scale, found.landmarks) == ("BGR", 1.0, 2.0, LANDMARKS)
    images = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(found.prepare(images), ((images.astype(np.float32) - 1) / 2)[:, ::-1])


@pytest.mark.parametrize("text", ["{}", '{"mean": 127.5}', '{"scale": 1}', '{"mean": 0, "scale": 0}'])
def test_mean_and_scale_are_never_guessed(text):
    with pytest.raises(InvalidInput, match=r"model\.onnx: "):
        Preprocessing.from_json(text, "model.onnx")
