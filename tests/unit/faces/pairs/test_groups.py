"""Groups in a file beside a set, a line a pair."""

import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.pairs.groups import check_names, groups_file, read_groups, write_groups
from arcface_faces.pairs.pair_list import read_list


def test_groups_come_back_in_the_order_of_their_first_pair(tmp_path):
    write_groups(tmp_path / "rfw.bin", ["Indian", "", "African", "Indian", ""])
    found = read_groups(tmp_path / "rfw.bin", 5)
    assert (found.names, found.codes.tolist()) == (("Indian", "African"), [0, -1, 1, 0, -1])


def test_a_set_without_groups_has_no_file(tmp_path):
    write_groups(tmp_path / "lfw.bin", ["", ""])
    assert not groups_file(tmp_path / "lfw.bin").exists()
    assert read_groups(tmp_path / "lfw.bin", 2) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\n", "has 2 lines for the 3 pairs of rfw.bin"),
        ("", "has 0 lines for the 3 pairs"),
        ("a\n" + "x" * 100 + "\nb\n", "is longer than 80 letters"),
    ],
)
def test_a_file_about_other_pairs_is_refused(tmp_path, text, said):
    groups_file(tmp_path / "rfw.bin").write_text(text)
    with pytest.raises(InvalidInput, match=said):
        read_groups(tmp_path / "rfw.bin", 3)


def test_too_many_groups_are_none(tmp_path):
    groups_file(tmp_path / "rfw.bin").write_text("".join(f"{number}\n" for number in range(1001)))
    with pytest.raises(InvalidInput, match="names 1001 groups"):
        read_groups(tmp_path / "rfw.bin", 1001)


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines"])
def test_a_name_that_makes_no_line_is_refused(name):
    with pytest.raises(InvalidInput, match="has ends of lines"):
        check_names("pairs.csv", ["Asian", name])


@pytest.mark.parametrize("header", ["", "first,second,same,group\n"])
def test_a_list_may_have_a_column_of_groups(tmp_path, header):
    (tmp_path / "pairs.csv").write_text(f"{header}a.png,b.png,1,African\nc.png,d.png,0,\n")
    assert [(pair.first, pair.is_same, pair.group) for pair in read_list(tmp_path / "pairs.csv")] == [
        ("a.png", True, "African"),
        ("c.png", False, ""),
    ]
