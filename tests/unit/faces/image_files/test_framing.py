"""What becomes of images that are not 112x112."""

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.image_files.framing import choose_framing, read_landmarks
from arcface_faces.images import TEMPLATE, decode_any_size
from support.builders.face_detector import KEYPOINTS, detector_model
from support.builders.verification_set import encoded_image, noise_image

ONE, LARGE = encoded_image(1), encoded_image(2, 224, 224)


def test_other_sizes_are_refused_unless_something_is_said():
    plain = choose_framing(None, None, resize=False)
    np.testing.assert_array_equal(plain(ONE, "a", "a.png"), noise_image(1))
    with pytest.raises(InvalidInput, match=r"a\.png: the image is 224x224 and not 112x112: .*--landmarks .*--resize"):
        plain(LARGE, "a", "a.png")
    assert choose_framing(None, None, resize=True)(LARGE, "a", "a.png").shape == (112, 112, 3)


def test_landmarks_bring_an_image_to_the_template(tmp_path):
    # Twice the template, moved: every second pixel of the image is one of the aligned one.
    points = 2 * TEMPLATE + (16, 8)
    (tmp_path / "p.txt").write_text("a.png " + " ".join(map(str, points.ravel())))
    found = choose_framing(tmp_path / "p.txt", None, resize=False)(encoded_image(3, 256, 256), "a.png", "/x/a.png")
    expected = decode_any_size(encoded_image(3, 256, 256), "")[8 : 8 + 224 : 2, 16 : 16 + 224 : 2]
    assert (np.abs(found.astype(int) - expected) <= 1).all()


def test_landmarks_elsewhere_are_told_with_their_line(tmp_path):
    (tmp_path / "p.txt").write_text("a.png " + " ".join(map(str, (4 * TEMPLATE).ravel())))
    with pytest.raises(InvalidInput, match=r"p\.txt line 1: landmark .* lies outside of /x/a\.png, which has 112x112"):
        choose_framing(tmp_path / "p.txt", None, resize=False)(ONE, "a.png", "/x/a.png")


def test_a_detector_brings_an_image_to_the_template(tmp_path):
    image = np.zeros((160, 160, 3), np.uint8)
    image[64:96, 64:96, 0] = 255
    import cv2  # noqa: PLC0415

    encoded = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    found = choose_framing(None, detector_model(tmp_path / "d.onnx"), resize=False)(encoded, "a", "a.png")
    points = " ".join(map(str, (32 * (np.array([2, 2]) + KEYPOINTS)).ravel()))
    (tmp_path / "p.txt").write_text(f"a.png {points}")
    listed = choose_framing(tmp_path / "p.txt", None, resize=False)(encoded, "a.png", "a.png")
    assert (np.abs(found.astype(int) - listed) <= 1).all()
    assert found[..., 0].max() == 255


def test_only_one_way_may_be_asked_for(tmp_path):
    with pytest.raises(InvalidInput, match="give one of --landmarks, --detector and --resize"):
        choose_framing(tmp_path / "p.txt", None, resize=True)


POINTS = np.arange(10.0).reshape(5, 2) + 0.5
NUMBERS = [str(number) for number in POINTS.ravel()]


def written(tmp_path, *lines):
    (tmp_path / "points.txt").write_text("\n".join(lines))
    return read_landmarks(tmp_path / "points.txt")


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";"])
@pytest.mark.parametrize("score", [[], ["0.99"]])
@pytest.mark.parametrize("header", [[], ["image", *(f"p{number}" for number in range(10))]])
def test_lists_of_any_detector_are_read(tmp_path, separator, score, header):
    head = [separator.join([*header, *(["score"] if score else [])])] if header else []
    listed = written(tmp_path, *head, "", separator.join(["Ann/a.jpg", *NUMBERS, *score]))
    points, place = listed.of("Ann/a.jpg")
    np.testing.assert_array_equal(points, POINTS)
    assert place == f"{tmp_path}/points.txt line {len(head) + 2}"


def test_a_name_without_suffix_stands_for_the_file(tmp_path):
    listed = written(tmp_path, " ".join(["./Ann/a", *NUMBERS]))
    np.testing.assert_array_equal(listed.of("Ann/a.png")[0], POINTS)
    with pytest.raises(InvalidInput, match=r"points\.txt: has no landmarks of Ann/b\.png: add a line for it"):
        listed.of("Ann/b.png")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "holds no landmarks"),
        (["a.png 1 2 3"], "line 1"),
        (["", " ".join(["a.png", *NUMBERS]), "", " ".join(["b.png", *NUMBERS[:-1], "x"])], "line 4"),
        ([" ".join(["a.png", *NUMBERS]), " ".join(["b.png", *NUMBERS[:-1], "1_0"])], "line 2"),
        ([" ".join(["a.png", *NUMBERS]), " ".join(["b.png", *NUMBERS, "inf"])], "line 2"),
        # No heading, though the first line holds no landmarks: its image would be left out without a word.
        ([" ".join(["a", *NUMBERS[:-1], "x"]), " ".join(["b", *NUMBERS])], "line 1: 'a,0.5"),
        ([" ".join(["a", *["nan"] * 10]), " ".join(["b", *NUMBERS])], "line 1: 'a,nan"),
        ([",".join(["a.png", *"defghijklm"]), ",".join(["b.png", *NUMBERS])], "line 1: 'a.png,d"),
        ([",".join(["a", *"defghijkl", "\u0663"]), ",".join(["b.png", *NUMBERS])], "line 1: 'a,d"),
        ([" ".join(["a.png", *NUMBERS]), " ".join(["./a.png", *NUMBERS])], "line 2: a.png has landmarks in line 1"),
    ],
)
def test_a_bad_list_is_named_with_its_line(tmp_path, lines, said):
    with pytest.raises(InvalidInput, match=said):
        written(tmp_path, *lines)
