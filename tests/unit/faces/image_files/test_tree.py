"""Which files below a folder are its images, and where links may lead."""

import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.image_files.tree import ImageTree


@pytest.fixture
def folder(tmp_path):
    for name in ("images/b.png", "images/a/x y.JPG", "images/a/.hidden.png", "images/.cache/c.png", "outside/o.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "images" / "notes.txt").touch()
    return tmp_path / "images"


def test_images_of_all_subfolders_are_listed_in_the_order_of_their_names(folder):
    assert ImageTree(folder).names() == ["a/x y.JPG", "b.png"]


def test_links_within_the_folder_are_followed_and_end(folder):
    (folder / "l.png").symlink_to(folder / "b.png")
    (folder / "again").symlink_to(folder / "a")
    (folder / "a" / "up").symlink_to(folder)
    assert ImageTree(folder).names() == ["a/x y.JPG", "again/x y.JPG", "b.png", "l.png"]
    assert ImageTree(folder).find("again/x y.JPG") == folder / "again" / "x y.JPG"


def test_links_in_a_circle_are_of_no_image(tmp_path):
    (tmp_path / "a.png").symlink_to("a.png")
    assert ImageTree(tmp_path).names() == ["a.png"]  # whoever reads it is told
    with pytest.raises(InvalidInput, match=r"a\.png"):
        ImageTree(tmp_path).find("a.png")


@pytest.mark.parametrize(("link", "name"), [("l.png", "l.png"), ("there", "there/o.png")])
def test_links_out_of_the_folder_are_followed_where_the_setting_says_so(folder, link, name):
    (folder / link).symlink_to(folder.parent / "outside" / ("o.png" if link == name else ""))
    for look in (ImageTree(folder).names, lambda: ImageTree(folder).find(name)):
        with pytest.raises(InvalidInput, match=r"leads out of .*images by a link: allow it with --links anywhere"):
            look()
    anywhere = ImageTree(folder, "anywhere")
    assert name in anywhere.names()
    assert anywhere.find(name) == folder / name


@pytest.mark.parametrize(
    "name", ["../outside/o.png", "a/../../outside/o.png", "/etc/hostname", "", ".", "none", "b\0.png"]
)
@pytest.mark.parametrize("links", ["inside", "anywhere"])
def test_a_name_itself_never_leads_out(folder, name, links):
    with pytest.raises(InvalidInput):
        ImageTree(folder, links).find(name)


def test_files_of_other_kinds_are_left_out_and_counted(folder, caplog):
    for name in ("a/1.webp", "a/2.WebP", "3.bmp", "a/plain"):
        (folder / name).touch()
    assert ImageTree(folder).names() == ["a/x y.JPG", "b.png"]
    (line,) = caplog.messages
    assert line.startswith(f"{folder}: left out: 2 .webp, ")
    assert all(part in line for part in ("1 .bmp", "1 .txt", "1 without an end", "images are .jpg, .jpeg, .png"))


def test_a_list_may_name_a_file_of_another_kind_whose_bytes_then_decide(folder):
    (folder / "3.bmp").touch()
    assert ImageTree(folder).find("3.bmp") == folder / "3.bmp"


def test_a_folder_without_images_is_told(tmp_path):
    with pytest.raises(InvalidInput, match=r"holds no images \(images are \.jpg, \.jpeg, \.png\)"):
        ImageTree(tmp_path).names()
    (tmp_path / "1.webp").touch()
    with pytest.raises(InvalidInput, match=r"holds no images \(left out: 1 \.webp; "):
        ImageTree(tmp_path).names()
