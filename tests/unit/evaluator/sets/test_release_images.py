"""From the files of a release to embeddings: which images, aligned how, kept where."""

import json

import numpy as np
import pytest

from arcface_api.command import run
from arcface_api.errors import InvalidInput
from arcface_evaluator.sets.release import open_ijb
from arcface_evaluator.sets.release_images import open_images
from arcface_evaluator.verifying import EmbeddingsPlace, embed_templates, verify_release
from arcface_faces.checkpoint import MANIFEST_FILE
from arcface_faces.embedding import parts
from arcface_faces.embedding.embedder import InProcessEmbedder
from support import small_volume
from support.builders.ijb_release import IMAGES_EACH, PERSONS, write_release
from support.builders.verification_set import corner_network, encoded_image, noise_image

IMAGES = PERSONS * IMAGES_EACH


def embeddings_of(root, batch_size=7, checkpoint=None, network=corner_network, accelerator="cpu"):
    opened = open_ijb(root)
    source = () if checkpoint is None else (checkpoint / MANIFEST_FILE,)
    embedder = InProcessEmbedder(lambda: network, batch_size)
    place = None if checkpoint is None else EmbeddingsPlace(checkpoint, lambda: accelerator)
    return embed_templates(opened, open_images(opened), lambda: embedder, source, place)


def test_images_are_embedded_in_the_order_of_the_files_with_their_mirrored_views(tmp_path):
    views = embeddings_of(write_release(tmp_path))
    shown = np.stack([noise_image(row // IMAGES_EACH) for row in range(IMAGES)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(views[:, 0], corner_network(shown))
    np.testing.assert_array_equal(views[:, 1], corner_network(shown[..., ::-1]))


@pytest.mark.parametrize("batch_size", [1, 7, 64, IMAGES + 1])
def test_rates_do_not_depend_on_the_batch_size(tmp_path, batch_size):
    root = write_release(tmp_path)
    found = verify_release(open_ijb(root), embeddings_of(root, batch_size)).choices
    assert found == verify_release(open_ijb(root), embeddings_of(root, IMAGES)).choices
    assert [rate.nearest for rate in found[0].rates] == [None, None, None, None, 1.0, 1.0]


def test_rates_do_not_depend_on_the_order_of_the_images(tmp_path):
    root = write_release(tmp_path)
    expected = verify_release(open_ijb(root), embeddings_of(root)).choices
    order = np.random.default_rng(0).permutation(IMAGES)
    for kind in ("face_tid_mid", "name_5pts_score"):
        path = root / "meta" / f"ijbc_{kind}.txt"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[row] for row in order))
    assert verify_release(open_ijb(root), embeddings_of(root)).choices == expected


def rewritten(root, old, new):
    path = root / "meta" / "ijbc_name_5pts_score.txt"
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize("outside", ["500 51.6963", "38.2946 -40", "-29 51.6963"])
def test_a_landmark_outside_of_its_image_is_named(tmp_path, outside):
    root = write_release(tmp_path)
    rewritten(root, "2.jpg 38.2946 51.6963", f"2.jpg {outside}")
    x, y = outside.split()
    said = rf"ijbc_name_5pts_score.txt line 3: landmark \({x}, {y}\) lies outside of 2.jpg, which has 112x112 pixels"
    with pytest.raises(InvalidInput, match=said):
        embeddings_of(root)


def test_a_landmark_just_outside_is_that_of_a_face_that_was_cut(tmp_path):
    root = write_release(tmp_path)
    rewritten(root, "2.jpg 38.2946 51.6963", "2.jpg -20 51.6963")
    assert np.isfinite(embeddings_of(root)).all()


def test_images_without_landmarks_are_aligned_already(tmp_path):
    root = write_release(tmp_path, name="mine")
    (root / "meta" / "mine_name_5pts_score.txt").unlink()
    shown = np.stack([noise_image(row // IMAGES_EACH) for row in range(IMAGES)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(embeddings_of(root)[:, 0], corner_network(shown))
    (root / "loose_crop" / "7.jpg").write_bytes(encoded_image(1, 120, 120))
    with pytest.raises(InvalidInput, match=r"loose_crop/7.jpg: the image is 120x120 and not 112x112"):
        embeddings_of(root)


def test_a_missing_image_is_named_before_any_is_embedded(tmp_path):
    root = write_release(tmp_path)
    (root / "loose_crop" / "11.jpg").unlink()
    with pytest.raises(InvalidInput, match=r"loose_crop/11.jpg: is missing, line 12 of .*ijbc_name_5pts_score.txt"):
        open_images(open_ijb(root))


def test_links_lead_out_of_the_folder_where_that_is_allowed(tmp_path):
    root = write_release(tmp_path)
    image = (root / "loose_crop" / "7.jpg").rename(tmp_path / "elsewhere.jpg")
    (root / "loose_crop" / "7.jpg").symlink_to(image)
    with pytest.raises(InvalidInput, match=r"7\.jpg: leads out of .* by a link: allow it with --links anywhere"):
        open_images(open_ijb(root))
    open_images(open_ijb(root, "anywhere")).check_sizes()
    (root / "loose_crop" / "7.jpg").unlink()
    (root / "loose_crop" / "7.jpg").symlink_to("8.jpg")
    open_images(open_ijb(root)).check_sizes()


def test_a_name_that_leads_out_of_the_folder_is_missing(tmp_path):
    root = write_release(tmp_path)
    for kind in ("face_tid_mid", "name_5pts_score"):
        path = root / "meta" / f"ijbc_{kind}.txt"
        path.write_text(path.read_text().replace("0.jpg", "../loose_crop/0.jpg", 1))
    with pytest.raises(InvalidInput, match="is missing, line 1"):
        open_images(open_ijb(root))


def test_landmarks_that_are_one_point_are_named(tmp_path):
    root = write_release(tmp_path)
    path = root / "meta" / "ijbc_name_5pts_score.txt"
    lines = path.read_text().splitlines()
    lines[4] = "4.jpg " + "50 " * 10 + "0.9"
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidInput, match="line 5: all landmarks are one point"):
        open_images(open_ijb(root))


@pytest.mark.parametrize("content", [b"", b"no image", encoded_image(1)[:100]])
def test_what_is_no_image_is_named(tmp_path, content):
    root = write_release(tmp_path)
    (root / "loose_crop" / "9.jpg").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"loose_crop/9.jpg: "):
        embeddings_of(root)


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "step-00000010"
    folder.mkdir()
    (folder / MANIFEST_FILE).write_text("{}")
    return folder


def never(_images):
    raise AssertionError("the network was asked")


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 20 images: 20, 20 and 8."""
    monkeypatch.setattr(parts, "PART", 20)


@pytest.mark.usefixtures("small_parts")
def test_embeddings_are_kept_beside_the_checkpoint_and_taken_from_there(tmp_path, checkpoint):
    root = write_release(tmp_path)
    first = embeddings_of(root, checkpoint=checkpoint)
    np.testing.assert_array_equal(first, embeddings_of(root, batch_size=20))
    np.testing.assert_array_equal(first, embeddings_of(root, checkpoint=checkpoint, network=never))


def test_embeddings_of_other_images_of_a_set_are_removed_when_its_new_ones_are_whole(tmp_path, checkpoint):
    def kept():
        return {path.name for path in (checkpoint / "embeddings").glob("*/*")}

    root, other = write_release(tmp_path), write_release(tmp_path, "IJBB")
    embeddings_of(other, checkpoint=checkpoint)
    embeddings_of(root, checkpoint=checkpoint)
    before = kept()
    (root / "loose_crop" / "7.jpg").write_bytes(encoded_image(99))
    with pytest.raises(AssertionError, match="the network was asked"):
        embeddings_of(root, checkpoint=checkpoint, network=never)
    assert kept() == before
    embeddings_of(root, checkpoint=checkpoint)
    assert len(kept()) == 2
    assert len(kept() & before) == 1
    embeddings_of(other, checkpoint=checkpoint, network=never)


@pytest.mark.usefixtures("small_parts")
def test_whoever_is_ended_loses_one_part_at_most(tmp_path, checkpoint):
    root, seen = write_release(tmp_path), []

    def ended(images):
        if sum(seen) >= 2 * 33:  # both views of 33 images
            raise KeyboardInterrupt
        seen.append(len(images))
        return corner_network(images)

    def counted(images):
        seen.append(len(images))
        return corner_network(images)

    with pytest.raises(KeyboardInterrupt):
        embeddings_of(root, checkpoint=checkpoint, network=ended)
    seen.clear()
    found = embeddings_of(root, checkpoint=checkpoint, network=counted)
    assert sum(seen) == 2 * (IMAGES - 20)
    np.testing.assert_array_equal(found, embeddings_of(root))


@pytest.mark.parametrize("changed", ["image", "landmark", "template", "checkpoint", "programs", "accelerator"])
def test_kept_embeddings_of_anything_else_are_not_taken(tmp_path, checkpoint, monkeypatch, changed):
    root = write_release(tmp_path)
    embeddings_of(root, checkpoint=checkpoint)
    if changed == "image":
        (root / "loose_crop" / "3.jpg").write_bytes(encoded_image(99))
    elif changed == "landmark":
        rewritten(root, "3.jpg 38.2946", "3.jpg 38.2947")
    elif changed == "template":
        path = root / "meta" / "ijbc_face_tid_mid.txt"
        path.write_text(path.read_text().replace("0.jpg 0 0", "0.jpg 0 1", 1))
    elif changed == "programs":
        monkeypatch.setenv("ARCFACE_REVISION", "another")
    elif changed == "checkpoint":
        (checkpoint / MANIFEST_FILE).write_text('{"step": 11}')
    accelerator = "ascend" if changed == "accelerator" else "cpu"
    with pytest.raises(AssertionError, match="was asked"):
        embeddings_of(root, checkpoint=checkpoint, network=never, accelerator=accelerator)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"\x93NUMPY"),
        lambda path: path.write_bytes(b""),
        lambda path: np.save(path, np.load(path)[::-1]),  # sound by its looks
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
@pytest.mark.usefixtures("small_parts")
def test_a_damaged_part_is_made_anew(tmp_path, checkpoint, damage):
    root = write_release(tmp_path)
    expected = embeddings_of(root, checkpoint=checkpoint)
    (kept,) = checkpoint.glob("embeddings/IJBC/*/00000020-00000040.npy")
    damage(kept)
    np.testing.assert_array_equal(embeddings_of(root, checkpoint=checkpoint), expected)


@pytest.mark.usefixtures("small_parts")
def test_a_full_volume_keeps_nothing_and_stops_nothing(tmp_path, caplog):
    root = write_release(tmp_path)
    with small_volume.mounted(tmp_path / "volume", "48k") as volume:  # a part has 20 x 2 x 147 x 4 bytes
        (volume / MANIFEST_FILE).write_text("{}")
        assert len(embeddings_of(root, checkpoint=volume)) == IMAGES
        assert [path.name for path in volume.rglob("*") if path.is_file()] == [MANIFEST_FILE]
        assert "embeddings are not kept, another process would begin anew" in caplog.text
        assert "No space left on device" in caplog.text
        assert len(caplog.messages) == 1


def test_a_folder_that_cannot_be_written_keeps_nothing_and_stops_nothing(tmp_path, checkpoint, caplog):
    root = write_release(tmp_path)
    (checkpoint / "embeddings").touch()  # a file, since root may write to any folder
    assert len(embeddings_of(root, checkpoint=checkpoint)) == IMAGES
    assert len(caplog.messages) == 1


def test_the_command_prints_the_table_and_writes_every_number(tmp_path, checkpoint, monkeypatch, capsys):
    root, answer = write_release(tmp_path), tmp_path / "answer.json"
    monkeypatch.setattr("arcface_evaluator.networks.load_checkpoint", lambda *_: corner_network)
    command = ["evaluate", "ijb", "--checkpoint", checkpoint, "--root", root, "--json", answer]
    with pytest.raises(SystemExit, match="0"):
        run([str(word) for word in command])
    assert "IJBC: TAR in % at FAR" in capsys.readouterr().out
    written = json.loads(answer.read_text())
    assert written["checkpoint"] == str(checkpoint)
    assert written["ijb"] == [{"dataset": "IJBC", "tarAtFar": {"1e-2": 1.0, "1e-1": 1.0}}]
    assert len(written["ijbDetails"]) == 8
    assert len(list(checkpoint.glob("embeddings/IJBC/*/00000000-00000048.npy"))) == 1


def test_check_counts_a_release(tmp_path, capsys):
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "check", "--ijb", str(write_release(tmp_path)), "--json"])
    (count,) = json.loads(capsys.readouterr().out)["ijb"]
    assert count == {"name": "IJBC", "images": 48, "templates": 24, "pairs": 276, "same": 12}


def test_check_names_an_image_of_a_release_that_has_lost_a_part_unless_it_is_to_be_quick(tmp_path, capsys):
    root = write_release(tmp_path)
    damaged = root / "loose_crop" / "30.jpg"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert run(["evaluate", "check", "--ijb", str(root)]) == 2
    assert f"{damaged}: " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        run(["evaluate", "check", "--quick", "--ijb", str(root)])


def no_advance(_count):
    """Tell nobody."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not decode"),
        (b"<html>not found</html>", "does not decode"),
        (encoded_image(1)[:20], "does not decode"),
        (encoded_image(1, 40, 40), "line 8: landmark .* lies outside of 7.jpg, which has 40x40 pixels"),
        (encoded_image(1)[:16] + (9000).to_bytes(4) * 2 + b"x", "says that it has 9000x9000 pixels"),
    ],
)
def test_kind_and_size_of_every_image_are_looked_at_without_decoding(tmp_path, content, said):
    root = write_release(tmp_path)
    images = open_images(open_ijb(root))
    images.check_sizes()
    (root / "loose_crop" / "7.jpg").write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        images.check_sizes()


def test_a_check_of_a_release_looks_at_all_images_even_if_quick(tmp_path, capsys):
    root = write_release(tmp_path)
    (root / "loose_crop" / "40.jpg").write_bytes(encoded_image(1, 40, 40))
    assert run(["evaluate", "check", "--quick", "--ijb", str(root)]) == 2
    assert "line 41: landmark" in capsys.readouterr().err
