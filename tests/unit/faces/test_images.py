"""Preprocessing as manifests, ONNX and MindIR describe it; images of too many pixels; alignment against Umeyama."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import arcface_evaluator
import arcface_faces
import arcface_trainer
from arcface_api.errors import InvalidInput
from arcface_faces.images import (
    LANDMARKS,
    OWN_PREPROCESSING,
    TEMPLATE,
    Preprocessing,
    align,
    cv2,
    decode,
    decode_any_size,
    decode_scaled,
    similarity_transforms,
)

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


DECODERS = {
    "training": "from arcface_faces.images import decode_any_size as decode",
    "evaluation": "from arcface_faces.images import decode_scaled as decode",
}
SCRIPT = """
import resource, sys
from arcface_api.errors import InvalidInput
{decoder}
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(data, *sys.argv[2:])
except InvalidInput as error:
    print(error)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def flat_png(side, pixels=None):
    """A black image of side x side, one bit a pixel: some kilobytes that decode to 3 * side * side bytes.

    With other bytes in the place of its pixels it is as short as these are.
    """

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    if pixels is None:
        packer = zlib.compressobj(9)
        pixels = b"".join(packer.compress(bytes(1 + side // 8)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


BOMBS = {"more pixels than are decoded": 8200, "more pixels than its bytes can tell of": 8000}


@pytest.mark.parametrize(("decoder", "bomb"), list(zip(DECODERS, BOMBS, strict=True)))
def test_a_decompression_bomb_is_one_bad_image(tmp_path, decoder, bomb):
    side, bomb = BOMBS[bomb], tmp_path / "bomb.png"
    bomb.write_bytes(flat_png(side))
    script = SCRIPT.format(decoder=DECODERS[decoder])
    ended = subprocess.run([sys.executable, "-c", script, bomb, "p"], capture_output=True, text=True, check=True)
    told, kilobytes = ended.stdout.splitlines()
    assert "of at most 67108864 pixels" in told
    assert int(kilobytes) < 50_000


@pytest.mark.parametrize(
    ("decoder", "data", "said"),
    [
        (decode, flat_png(8000, b"x"), r"does not decode as an image of at most 67108864 pixels \(it has 58 bytes\)"),
        (decode, flat_png(200, bytes(99)), "the image is 200x200 and not 112x112"),
        (
            decode_scaled,
            flat_png(2056, bytes(9000)),
            "the image is 2056x2056; aligned ones are smaller: align it first",
        ),
        (decode_scaled, b"\xff\xd8\xff" + bytes(100), "does not decode"),
        (decode_any_size, b"\x89PNG\r\n\x1a\n" + flat_png(16)[33:], "does not decode"),
        (decode_any_size, flat_png(0, b""), "does not decode"),
        (decode_any_size, flat_png(16)[:50], "does not decode"),
    ],
)
def test_what_an_image_says_of_itself_is_looked_at_before_it_is_decoded(decoder, data, said, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InvalidInput, match=rf"^a\.png: .*{said}"):
        decoder(data, "a.png")


@pytest.mark.parametrize("suffix", [".jp2", ".tiff", ".webp", ".bmp", ".ppm"])
def test_what_opencv_would_decode_besides_never_reaches_it(suffix, monkeypatch):
    """JPEG 2000 above all: the gate stands before the decoder, whatever the file is called."""
    encoded = cv2.imencode(suffix, np.full((112, 112, 3), 7, np.uint8))[1]
    assert cv2.imdecode(encoded, cv2.IMREAD_COLOR).shape == (112, 112, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InvalidInput, match=r"^a/b\.png: .*neither JPEG nor PNG; convert it first$"):
        decode(encoded.tobytes(), "a/b.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_jpeg_and_png_are_decoded(suffix):
    encoded = cv2.imencode(suffix, np.full((112, 112, 3), 7, np.uint8))[1]
    np.testing.assert_allclose(decode(encoded.tobytes(), "a"), 7, atol=1)


def test_images_are_decoded_in_one_place():
    packages = [Path(package.__file__).parent for package in (arcface_evaluator, arcface_faces, arcface_trainer)]
    sources = [path for package in packages for path in package.rglob("*.py")]
    assert [path.name for path in sources if ".imdecode(" in path.read_text()] == ["images.py"]
    assert not [path for path in sources for call in ("imread", "Image.open") if call in path.read_text()]


@pytest.mark.parametrize("package", [arcface_faces, arcface_trainer, arcface_evaluator])
def test_opencv_is_imported_in_one_place(package):
    sources = Path(package.__file__).parent.rglob("*.py")
    importing = [path.name for path in sources if "\nimport cv2" in path.read_text()]
    assert importing == (["images.py"] if package is arcface_faces else [])


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
