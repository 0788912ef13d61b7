import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.image_files.landmarks import read_landmarks

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
        ([" ".join(["a.png", *NUMBERS[:-1], "nan"]), " ".join(["a.png", *NUMBERS, "inf"])], "line 2"),
        ([" ".join(["a.png", *NUMBERS]), " ".join(["./a.png", *NUMBERS])], "line 2: a.png has landmarks in line 1"),
    ],
)
def test_a_bad_list_is_named_with_its_line(tmp_path, lines, said):
    with pytest.raises(InvalidInput, match=said):
        written(tmp_path, *lines)
