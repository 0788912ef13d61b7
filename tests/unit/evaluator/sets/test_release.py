"""What is no set of templates, named with its line."""

import pytest

from arcface_api.errors import InvalidInput
from arcface_evaluator.sets.release import open_templates


@pytest.mark.parametrize("text", ["--5", "1_0", "x", "9" * 19])
def test_what_is_no_whole_number_is_refused_with_its_line(tmp_path, text):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "own_face_tid_mid.txt").write_text(f"a.jpg 1 1\nb.jpg 1 {text}\n")
    with pytest.raises(InvalidInput, match=rf"own_face_tid_mid\.txt line 2: media '{text}' is no whole number"):
        open_templates(tmp_path)


def test_a_landmark_that_only_python_takes_for_a_number_is_refused(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "own_face_tid_mid.txt").write_text("a.jpg 1 1\n")
    (tmp_path / "meta" / "own_name_5pts_score.txt").write_text("a.jpg 1_0" + " 5" * 9 + " 0.9\n")
    with pytest.raises(InvalidInput, match=r"own_name_5pts_score\.txt line 1: holds '1_0'"):
        open_templates(tmp_path)
