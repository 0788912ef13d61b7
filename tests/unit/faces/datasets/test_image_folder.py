"""Images in folders: listed once, and again where a folder has changed."""

import os

import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.datasets import image_folder
from arcface_faces.datasets.dataset import open_dataset

LONG_AGO = 1_000_000_000_000_000_000


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Three identities with 2, 1 and 3 images, beside folders and files that are none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    root = tmp_path / "images"
    for name, count in {"Ann": 2, "Bob": 1, "Zoë": 3, "empty": 0, ".hidden": 2}.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.JPG").write_bytes(f"{name} {number}".encode())
            (root / name / f"._{number}.JPG").write_bytes(b"what macOS leaves beside a file on another system's disk")
        (root / name / "notes.txt").write_text("no image")
    (root / "loose.jpg").write_bytes(b"of nobody")
    settle(root)
    return root


def settle(root):
    """As if the folders had last been changed long ago."""
    for folder in root.iterdir():
        os.utime(folder, ns=(LONG_AGO, LONG_AGO))


@pytest.fixture
def listed(monkeypatch):
    """Folders whose images are listed."""
    seen = []

    def list_images(folder, others):
        seen.append(folder)
        return images_in(folder, others)

    images_in = image_folder._images_in
    monkeypatch.setattr(image_folder, "_images_in", list_images)
    return seen


def shown(faces):
    return [faces.image_bytes(index).decode() for index in range(len(faces.labels))]


def test_files_of_other_kinds_are_told_when_the_images_are_listed(images, caplog):
    for name in ("Ann/a.webp", "Bob/b.WEBP", "Bob/c.bmp"):
        (images / name).touch()
    for name in ("subfolder", "named like one.jpg"):
        (images / "Ann" / name).mkdir()
    settle(images)
    for _ in range(2):
        assert len(open_dataset(images).labels) == 6
    (line,) = caplog.messages  # the second time the index is mapped
    assert line.startswith(f"{images}: left out: 4 .txt, 2 .webp, 1 .bmp; images are .jpg, .jpeg, .png")


def test_a_folder_of_other_kinds_alone_holds_no_images(tmp_path):
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann" / "a.bmp").touch()
    with pytest.raises(InvalidInput, match=r"neither train\.rec nor subfolders with images \(left out: 1 \.bmp; "):
        open_dataset(tmp_path)


def test_identities_and_images_come_in_the_order_of_their_names(images):
    for _ in range(2):
        faces = open_dataset(images)
        assert shown(faces) == ["Ann 0", "Ann 1", "Bob 0", "Zoë 0", "Zoë 1", "Zoë 2"]
        assert faces.labels.tolist() == [0, 0, 1, 2, 2, 2]
        assert faces.where(3) == str(images / "Zoë" / "0.JPG")
        assert (faces.class_count, faces.dropped_identities) == (3, 0)


def test_images_are_listed_to_make_an_index_and_looked_at_then(images, listed):
    first = open_dataset(images)
    listed.clear()
    second = open_dataset(images)
    assert len(listed) == 4, "of so few identities all are looked at, of very many some"
    assert (first.fingerprint, first.content_fingerprint) == (second.fingerprint, second.content_fingerprint)


def test_a_folder_that_has_changed_is_listed_again(images, listed):
    before = open_dataset(images).fingerprint
    (images / "Bob" / "1.JPG").write_bytes(b"Bob 1")
    os.utime(images / "Bob", ns=(LONG_AGO + 1, LONG_AGO + 1))
    faces = open_dataset(images)
    assert shown(faces)[2:4] == ["Bob 0", "Bob 1"]
    assert faces.fingerprint != before
    assert len(listed) == 16, "each time to know what they are, and to make an index of it"


def test_an_image_that_was_replaced_by_another_of_its_name_is_seen(images):
    before = open_dataset(images)
    (images / "Bob" / "0.JPG").write_bytes(b"another Bob")
    assert (images / "Bob").stat().st_mtime_ns == LONG_AGO, "writing over a file leaves its folder as it was"
    after = open_dataset(images)
    assert after.content_fingerprint != before.content_fingerprint
    assert after.fingerprint == before.fingerprint, "what releases before this one compare"


def test_of_very_many_identities_some_are_looked_at_each_time(images, listed, monkeypatch):
    monkeypatch.setattr(image_folder, "SAMPLED_IDENTITIES", 2)
    open_dataset(images)
    listed.clear()
    open_dataset(images)
    assert [folder.rpartition("/")[2] for folder in listed] == ["Ann", "Zoë"]


def test_an_index_that_knows_no_sizes_is_made_anew(images, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(image_folder, "_made_from", lambda *_: "a hash of names and times")
        open_dataset(images)
    (index,) = images.glob("arcface-index-1")
    before = index.stat().st_ino
    open_dataset(images)
    assert index.stat().st_ino != before


def test_a_link_to_nowhere_is_refused_by_its_name_and_one_to_an_image_is_an_image(images):
    link = images / "Ann" / "2.jpg"
    link.symlink_to(images / "loose.jpg")
    assert shown(open_dataset(images))[2] == "of nobody"
    (images / "loose.jpg").unlink()
    with pytest.raises(InvalidInput, match=rf"^{link}: is a link to nowhere: copy the image there or remove the link$"):
        open_dataset(images)


def test_a_new_identity_is_seen(images):
    open_dataset(images)
    (images / "Cid").mkdir()
    (images / "Cid" / "0.JPG").write_bytes(b"Cid 0")
    settle(images)
    assert open_dataset(images).class_count == 4


def test_a_folder_that_may_still_change_within_its_time_is_listed_each_time(images, listed):
    (images / "Bob").touch()
    open_dataset(images)
    open_dataset(images)
    assert len(listed) == 8


def test_a_name_that_is_no_text_leads_to_its_file(images):
    (images / "Ann" / os.fsdecode(b"\xff.jpg")).write_bytes(b"odd")
    settle(images)
    assert shown(open_dataset(images))[2] == "odd"


def test_identities_with_few_images_are_left_out(images):
    faces = open_dataset(images, 2)
    assert faces.labels.tolist() == [0, 0, 1, 1, 1]
    assert (faces.class_count, faces.dropped_identities) == (2, 1)


def test_a_copy_elsewhere_has_the_same_fingerprint_and_one_less_image_another(images, tmp_path):
    whole = open_dataset(images).fingerprint
    assert open_dataset(images.rename(tmp_path / "elsewhere")).fingerprint == whole
    (tmp_path / "elsewhere" / "Ann" / "1.JPG").unlink()
    assert open_dataset(tmp_path / "elsewhere").fingerprint != whole


def test_too_few_images_and_none_are_told_apart(images, tmp_path):
    with pytest.raises(InvalidInput, match=r"no identity has 4 images: lower data\.minImagesPerIdentity"):
        open_dataset(images, 4)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InvalidInput, match=r"neither train\.rec nor subfolders with images"):
        open_dataset(tmp_path / "nothing")
