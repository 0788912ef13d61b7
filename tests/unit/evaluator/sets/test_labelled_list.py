"""Lists of images with labels and groups."""

import os

import pytest

from arcface_api.errors import InvalidInput
from arcface_evaluator.sets.labelled_list import ListedImages, read_labelled_list
from arcface_faces.image_files.tree import ImageTree
from support.builders.verification_set import encoded_image, noise_image


def written(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_labels_are_numbered_and_groups_hold_the_places_of_their_images(tmp_path):
    found = read_labelled_list(
        written(tmp_path, "\ufeffimage,label,group\nb/1.jpg,Ann,x\n\n2.jpg, Bea ,y\n3.jpg,Ann,x\n")
    )
    assert (found.name, found.images, found.labels.tolist()) == ("mine", ["b/1.jpg", "2.jpg", "3.jpg"], [0, 1, 0])
    assert {name: members.tolist() for name, members in found.groups.items()} == {"x": [0, 2], "y": [1]}


def test_a_list_needs_neither_a_heading_nor_groups(tmp_path):
    found = read_labelled_list(written(tmp_path, '"one, two.jpg",7\n3.jpg,8\n4.jpg,8\n'))
    assert (found.images, found.labels.tolist(), found.groups) == (["one, two.jpg", "3.jpg", "4.jpg"], [0, 1, 1], {})


def test_the_table_that_embed_writes_is_a_list(tmp_path):
    found = read_labelled_list(written(tmp_path, "image,identity\na/1.jpg,a\na/2.jpg,a\nb/1.jpg,b\n"))
    assert (found.images, found.labels.tolist()) == (["a/1.jpg", "a/2.jpg", "b/1.jpg"], [0, 0, 1])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(("separator", "ends"), [(",", "\n"), (";", "\r\n"), ("\t", "\r")])
def test_lists_are_read_as_spreadsheets_write_them(tmp_path, encoding, separator, ends):
    rows = [("Image", "Label"), ("two words.jpg", "Bj\u00f6rn \u0141"), ("", ""), ("2.jpg", "Bea"), ("3.jpg", "Bea")]
    text = ends.join(separator.join(row) for row in rows)
    found = read_labelled_list(written(tmp_path, text.encode(encoding)))
    assert (found.images, found.labels.tolist()) == (["two words.jpg", "2.jpg", "3.jpg"], [1, 0, 0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no image"),
        ("image,label\n", "names no image"),
        ("a.jpg,1\nb.jpg\n", "line 2: 'b.jpg'; a line is 'image,label' or 'image,label,group', alike in all"),
        ("a.jpg,1\nb.jpg,2,x\n", "line 2: 'b.jpg,2,x'"),
        ("a.jpg,1\n,2\n", "line 2: ',2'"),
        ("a.jpg\n", "line 1: 'a.jpg'"),
        ("a.jpg,1\nb.jpg,2\na.jpg,2\n", "line 3: a.jpg came in line 1; list each image once"),
        ("\n\na.jpg,1\n\nb.jpg\n", "line 5: 'b.jpg'"),
        ('a.jpg,1\n\n"b.jpg,2\n', "line 3: is no CSV (unexpected end of data); look for quotes without an end"),
        (b"\xff\xfe\x00", "mine.csv: byte 2 is no UTF-16 text: save it as UTF-8"),
        (b"a.jpg,Bj\xf6rn\n", "mine.csv: byte 8 is no UTF-8 text: save it as UTF-8"),
        (b"ab\x00.jpg,1\nb.jpg,1\n", "line 1: "),
    ],
)
def test_a_bad_list_is_told_by_its_line(tmp_path, text, said):
    with pytest.raises(InvalidInput) as refused:
        read_labelled_list(written(tmp_path, text))
    assert said in str(refused.value)


def test_images_are_read_as_they_are(tmp_path):
    (tmp_path / "1.png").write_bytes(encoded_image(5))
    (tmp_path / "2.png").write_bytes(encoded_image(5, 120, 112))
    images = ListedImages("faces", ImageTree(tmp_path), ["1.png", "2.png", "3.png"])
    assert (images.image(0) == noise_image(5)).all()
    with pytest.raises(InvalidInput, match=r"2\.png: the image is 112x120"):
        images.image(1)
    with pytest.raises(InvalidInput, match=r"3\.png: cannot be read"):
        images.image(2)


def test_images_are_files_below_the_folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for place in (folder / "1.png", tmp_path / "2.png"):
        place.write_bytes(encoded_image(5))
    (folder / "link.png").symlink_to(tmp_path / "2.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "circle.png").symlink_to("circle.png")
    names = ["1.png", "../2.png", str(tmp_path / "2.png"), "link.png", "pipe.png", "circle.png"]
    said = {
        1: r"2\.png: lies outside of ",
        2: r"2\.png: lies outside of ",
        3: r"link\.png: leads out of .* by a link: allow it with --links anywhere",
        4: r"pipe\.png: is not a file but a pipe",
        5: r"circle\.png: cannot be read \(Too many levels of symbolic links\)",
    }
    images = ListedImages("faces", ImageTree(folder), names)
    assert (images.image(0) == noise_image(5)).all()
    for number, words in said.items():
        with pytest.raises(InvalidInput, match=words):
            images.image(number)
    assert (ListedImages("faces", ImageTree(folder, "anywhere"), names).image(3) == noise_image(5)).all()
