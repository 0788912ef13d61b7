"""Lists of pairs become sets, and what is left out is told."""

import csv
import pickle

import numpy as np
import pytest

from arcface_api.command import run
from arcface_api.errors import InvalidInput
from arcface_faces.image_files.framing import Aligned
from arcface_faces.image_files.tree import ImageTree
from arcface_faces.images import TEMPLATE
from arcface_faces.pairs.pair_list import ListedPair, make_set, read_list
from arcface_faces.pairs.pair_set import read_pair_set
from support.builders.verification_set import encoded_image, noise_image

LFW = "2\t3\nAnn 1 2\nBob 2 3\nAnn 1 Bob 2\nAnn 2 Cid 1\n"
LINES = [*(f"Ann {number} {number + 1}" for number in range(1, 11)), "Ann 1 Ann 12"]
COMMA = "first,second,same\na.png,b.png,1\nsub/c.png,a.png,false\n"


def listed(tmp_path, text, name="pairs.txt"):
    path = tmp_path / name
    path.write_text(text)
    return read_list(path)


def test_a_list_of_lfw_names_people_and_numbers(tmp_path):
    assert listed(tmp_path, LFW) == [
        ListedPair(2, "Ann/Ann_0001", "Ann/Ann_0002", is_same=True),
        ListedPair(3, "Bob/Bob_0002", "Bob/Bob_0003", is_same=True),
        ListedPair(4, "Ann/Ann_0001", "Bob/Bob_0002", is_same=False),
        ListedPair(5, "Ann/Ann_0002", "Cid/Cid_0001", is_same=False),
    ]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_names_files(tmp_path, mark):
    assert listed(tmp_path, mark + COMMA, "pairs.CSV") == [
        ListedPair(2, "a.png", "b.png", is_same=True),
        ListedPair(3, "sub/c.png", "a.png", is_same=False),
    ]


TABLE = "first,second,same\na.png,b.png,1\nmy folder/c d.png,a.png,0\n"
READ = [ListedPair(2, "a.png", "b.png", is_same=True), ListedPair(3, "my folder/c d.png", "a.png", is_same=False)]


@pytest.mark.parametrize("separator", [",", ";", "\t", " ; "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_of_any_spreadsheet_are_read(tmp_path, separator, encoding, end):
    path = tmp_path / "pairs.csv"
    path.write_bytes(TABLE.replace(",", separator).replace("\n", end).encode(encoding))
    assert read_list(path) == READ


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.txt"])
def test_a_table_needs_no_header(tmp_path, separator, name):
    text = "\n".join(TABLE.splitlines()[1:]).replace(",", separator)
    assert listed(tmp_path, "\n" + text, name) == READ


def test_files_between_blanks_are_a_table(tmp_path):
    found = listed(tmp_path, "a.png b.png 1\nc.png  a.png 0\n")
    assert [(pair.first, pair.second, pair.is_same) for pair in found] == [
        ("a.png", "b.png", True),
        ("c.png", "a.png", False),
    ]


def test_names_hold_separators_where_they_are_quoted(tmp_path):
    assert listed(tmp_path, 'first,second,same\n"a, b.png","c;d.png",1\n', "p.csv") == [
        ListedPair(2, "a, b.png", "c;d.png", is_same=True)
    ]


def test_letters_that_other_programs_end_lines_at_are_part_of_a_name(tmp_path):
    assert listed(tmp_path, "first,second,same\na\u2028b.png,c\x85.png,1\nx,y,0\n", "p.csv") == [
        ListedPair(2, "a\u2028b.png", "c\x85.png", is_same=True),
        ListedPair(3, "x", "y", is_same=False),
    ]


def test_names_of_lfw_have_blanks_where_tabs_part_the_fields(tmp_path):
    assert listed(tmp_path, "10\t300\nAnn B\t1\t2\nAnn B\t1\tBob C\t2\n") == [
        ListedPair(2, "Ann B/Ann B_0001", "Ann B/Ann B_0002", is_same=True),
        ListedPair(3, "Ann B/Ann B_0001", "Bob C/Bob C_0002", is_same=False),
    ]


def test_bytes_of_another_encoding_are_named(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"first,second,same\nJos\xe9.png,b.png,1\n")
    with pytest.raises(InvalidInput, match=r"p\.csv: byte 21 is no UTF-8 text: save it as UTF-8"):
        read_list(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("Ann 1\n", "pairs.txt", "line 1: 'Ann 1'; a line is 'name 1 4' or 'name 1 other 2'"),
        ("10 300\nAnn x 2\n", "pairs.txt", "line 2"),
        ("", "pairs.txt", "holds no pairs"),
        ("10 300\n", "pairs.txt", "holds no pairs"),
        ("a,b,c\nx,y,1\n", "p.csv", "line 1: 'a,b,c'; the header is 'first,second,same'"),
        ("first,second,same\nx,y\n", "p.csv", "line 2: 'x,y'; a line is 'file,file,1-or-0'"),
        ("first,second,same\nx,y,maybe\n", "p.csv", "line 2"),
        ("", "p.csv", "holds no pairs"),
        ("\n\nfirst,second,same\n\nx,y,1\n\n \nx,y\n", "p.csv", "line 8"),
        ("10 300\n\n\nAnn x 2\n", "pairs.txt", "line 4"),
        ("x.png;y.png;1\nx,png;1\n", "p.csv", "line 2: 'x,png,1'"),
        (f"Ann 1 {'9' * 5000}\n", "pairs.txt", "line 1"),
        ("Ann 1 \u0663\n", "pairs.txt", "line 1"),
        ("first,second,same\nx,y,1\nfirst,second,same\n", "p.csv", "line 3: 'first,second,same'; a line is"),
    ],
)
def test_a_bad_list_is_named_with_its_line(tmp_path, text, name, said):
    with pytest.raises(InvalidInput) as caught:
        listed(tmp_path, text, name)
    assert said in str(caught.value)


def test_a_field_beyond_the_csv_readers_limit_is_one_line(tmp_path):
    before = csv.field_size_limit(1000)  # some packages raise it for the whole process
    try:
        with pytest.raises(InvalidInput, match="is no CSV"):
            listed(tmp_path, f"first,second,same\n{'x' * 2000},y,1\n", "p.csv")
    finally:
        csv.field_size_limit(before)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for number in range(1, 13):
        path = folder / "Ann" / f"Ann_{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded_image(number))
    (folder / "Ann" / "Ann_0020.jpg").write_bytes(b"no image")
    (folder / "Ann" / "Ann_0021.jpg").write_bytes(encoded_image(1, height=112, width=96))
    return folder


def make(tmp_path, images, lines, *words):
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    command = ["pairs", "make", "--list", tmp_path / "pairs.txt", "--images", images, "-o", tmp_path / "own.bin"]
    return run([str(word) for word in [*command, *words]])


def test_a_set_has_the_images_as_they_are_in_the_order_of_the_list(tmp_path, images, capsys):
    lines = LINES
    with pytest.raises(SystemExit, match="0"):
        make(tmp_path, images, lines)
    assert capsys.readouterr().out.endswith("own.bin: 11 pairs, 10 of one person; none dropped\n")
    made = read_pair_set(tmp_path / "own.bin")
    assert len(made) == 22
    images, is_same = pickle.loads((tmp_path / "own.bin").read_bytes())
    assert images[2:4] == [encoded_image(2), encoded_image(3)]
    assert is_same == [*[True] * 10, False]


def test_what_is_left_out_is_counted_and_listed_by_reason(tmp_path, images, capsys):
    lines = [*LINES]
    lines[3:3] = ["Ann 1 99", "Ann 20 1", "Ann 1 21", "Ann 98 99"]
    with pytest.raises(SystemExit, match="0"):
        make(tmp_path, images, lines, "--dropped", tmp_path / "dropped.csv")
    assert "11 pairs, 10 of one person; 4 dropped: 2 missing image, 2 unusable image" in capsys.readouterr().out
    with (tmp_path / "dropped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["line"], row["reason"]) for row in rows[:1]] == [("4", "missing image: Ann/Ann_0099")]
    assert "the image is 96x112" in rows[2]["reason"]


def test_too_few_pairs_and_an_existing_file_are_refused(tmp_path, images, capsys):
    assert make(tmp_path, images, ["Ann 1 2"]) == 2
    assert "needs 10 at least" in capsys.readouterr().err
    (tmp_path / "own.bin").write_text("mine")
    lines = LINES
    assert make(tmp_path, images, lines) == 2
    assert (tmp_path / "own.bin").read_text() == "mine"


def test_a_name_does_not_lead_out_of_the_folder(tmp_path, images):
    (tmp_path / "secret.png").write_bytes(encoded_image(3))
    pair = ListedPair(1, "../secret.png", "Ann/Ann_0001", is_same=False)
    assert make_set([pair], ImageTree(images), Aligned()).is_same == []


def test_a_set_that_comes_to_nothing_is_accounted_for(tmp_path, images, capsys):
    assert make(tmp_path, images / "Ann", LINES, "--dropped", tmp_path / "dropped.csv") == 2
    assert "0 pairs, 0 of one person; 11 dropped: 11 missing image: what is left: has 0" in capsys.readouterr().err
    assert (tmp_path / "dropped.csv").read_text().count("missing image: Ann/Ann_0001") == 2
    assert not (tmp_path / "own.bin").exists()


def test_no_file_is_replaced(tmp_path, images, capsys):
    assert make(tmp_path, images, LINES, "--dropped", tmp_path / "pairs.txt") == 2
    assert "pairs.txt: exists already" in capsys.readouterr().err
    assert (tmp_path / "pairs.txt").read_text() == "\n".join(LINES)


@pytest.mark.parametrize("name", ["", ".", "x" * 300, "a\0b", "a" * 5000 + ".png"])
def test_a_name_that_no_file_has_is_a_missing_image(images, name):
    (dropped,) = make_set([ListedPair(1, name, "Ann/Ann_0001", is_same=False)], ImageTree(images), Aligned()).dropped
    assert dropped.reason.startswith("missing image")


def test_photographs_are_dropped_unless_they_are_aligned_or_resized(tmp_path, images, capsys):
    for number in range(1, 13):
        (images / "Ann" / f"Ann_{number:04d}.png").write_bytes(encoded_image(number, 256, 256))
    assert make(tmp_path, images, LINES) == 2
    assert "11 unusable image" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        make(tmp_path, images, LINES, "--resize")
    (tmp_path / "own.bin").unlink()
    points = " ".join(map(str, (2 * TEMPLATE + (16, 8)).ravel()))
    (tmp_path / "points.txt").write_text("\n".join(f"Ann/Ann_{number:04d} {points}" for number in range(1, 13)))
    with pytest.raises(SystemExit, match="0"):
        make(tmp_path, images, LINES, "--landmarks", tmp_path / "points.txt")
    aligned = noise_image(2, 256, 256)[8 : 8 + 224 : 2, 16 : 16 + 224 : 2]
    assert (np.abs(read_pair_set(tmp_path / "own.bin").image(2).astype(int) - aligned) <= 1).all()


def test_an_image_behind_a_link_out_of_the_folder_is_told_and_may_be_allowed(tmp_path, images, capsys):
    (images / "Ann" / "Ann_0001.png").rename(tmp_path / "elsewhere.png")
    (images / "Ann" / "Ann_0001.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(SystemExit, match="0"):
        make(tmp_path, images, [*LINES, "Ann 2 Bob 1", "Ann 2 Ann 12"], "--links", "anywhere")
    (tmp_path / "own.bin").unlink()
    assert make(tmp_path, images, LINES) == 2
