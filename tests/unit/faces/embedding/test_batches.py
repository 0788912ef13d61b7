"""What a network meets, and what its errors mean."""

import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput
from arcface_faces.embedding.batches import ConstantBatches, refusal
from arcface_faces.embedding.embedder import embed
from support.builders.verification_set import Shown, corner_network, noise_image

IMAGES = Shown([noise_image(seed) for seed in range(9)])


def shapes_met(size, batch_size, count=9):
    sizes = []

    def network(images):
        sizes.append(len(images))
        return corner_network(images)

    found = embed(Shown(IMAGES[:count]), ConstantBatches(network, size), batch_size)
    np.testing.assert_array_equal(found, embed(Shown(IMAGES[:count]), corner_network, 64))
    return sizes[::2]


def test_a_last_batch_is_filled_up_to_the_one_shape():
    assert shapes_met(1, 4) == [4, 4, 4]


def test_a_batch_is_not_filled_up_beyond_need():
    assert shapes_met(1, 64) == [9]


def test_a_fixed_batch_is_always_met():
    assert shapes_met(16, 16, count=5) == [16]


def test_answers_for_fewer_images_are_seen():
    with pytest.raises(InvalidInput, match=r"answers 1 images with an array of shape \(3, 147\)"):
        embed(Shown(IMAGES[:1]), ConstantBatches(lambda images: corner_network(images)[:3], 4), 4)


@pytest.mark.parametrize(
    "said",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code: Failed to allocate memory for requested "
        "buffer of size 4294967296",
        "std::bad_alloc",
        "[ONNXRuntimeError] : 1 : FAIL : bad allocation",
        "Out of Memory!!! Request memory size: 34359738368, Memory Statistic:",
        "CUDA out of memory",
        "Device(id:0) memory isn't enough and alloc failed, kernel name: Conv2D",
        "Memory not enough: current free memory size[1024]",
    ],
)
def test_no_memory_says_nothing_about_the_model(tmp_path, said):
    told = refusal(tmp_path / "m.onnx", np.zeros((64, 3, 112, 112), np.uint8), RuntimeError(said))
    assert type(told) is ArcFaceError
    assert told.exit_code == ExitCode.FAILED
    assert "not enough memory for 64 images at once: lower --batch-size" in str(told)


def test_other_refusals_are_about_the_model(tmp_path):
    told = refusal(tmp_path / "m.onnx", np.zeros((1, 3, 112, 112), np.uint8), RuntimeError("wrong rank\nat line 3"))
    assert isinstance(told, InvalidInput)
    assert str(told).endswith("takes no float32 images (1, 3, 112, 112) (wrong rank)")
