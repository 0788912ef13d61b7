"""Embeddings part by part: one at a time, in order, as one."""

import tracemalloc

import numpy as np
import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_faces.embedding import parts
from arcface_faces.embedding.embedder import InProcessEmbedder
from arcface_faces.embedding.parts import KeptParts, embed_parts, join_parts
from arcface_faces.embedding.vectors import write_embeddings
from support import small_volume
from support.builders.verification_set import Shown, corner_network, noise_image

IMAGES = Shown(noise_image(seed) for seed in range(9))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART", 4)


def silent(_count):
    """Tell nobody."""


def embedder_of(network, batch_size=3):
    embedder = InProcessEmbedder(lambda: network, batch_size)
    return lambda: embedder


def direct(images):
    shown = np.stack(images).transpose(0, 3, 1, 2)
    return np.stack([corner_network(shown), corner_network(shown[..., ::-1])], axis=1)


def test_parts_come_in_order_and_are_one_in_the_end():
    told = []
    found = list(embed_parts(IMAGES, embedder_of(corner_network), told.append))
    assert [len(part) for part in found] == [4, 4, 1]
    assert told == [3, 1, 3, 1, 1]
    np.testing.assert_array_equal(join_parts(found, 9), direct(IMAGES))


def test_no_images_are_refused():
    with pytest.raises(InvalidInput, match="no images"):
        join_parts(embed_parts(Shown(), embedder_of(corner_network), silent), 0)


def test_a_network_that_tells_nobody_apart_is_told(caplog):
    equal = embedder_of(lambda images: np.ones((len(images), 4), np.float32))
    join_parts(embed_parts(IMAGES, equal, silent), 9)
    assert caplog.messages == [
        "embeddings of the network: all 9 are equal: they tell nobody apart; the network or what it is given is wrong"
    ]


def test_parts_that_are_equal_each_but_differ_are_no_reason_for_a_warning(caplog):
    shown = Shown([IMAGES[0]] * 4 + [IMAGES[1]] * 4)
    join_parts(embed_parts(shown, embedder_of(corner_network), silent), 8)
    assert caplog.messages == []


def test_zeros_are_counted_over_all_parts_and_the_first_is_named_by_its_row(caplog):
    def network(images):
        answer = corner_network(images)
        answer[(images[:, 0, 0, 0] == 0) & (images[:, 0, 0, -1] == 0)] = 0
        return answer

    black = np.zeros((112, 112, 3), np.uint8)
    shown = Shown([*(image | 1 for image in IMAGES[:5]), black, IMAGES[6] | 1, IMAGES[7] | 1, black])
    join_parts(embed_parts(shown, embedder_of(network), silent), 9)
    assert caplog.messages == ["embeddings of the network: 2 of 9 are zero, the first is row 5: embed those again"]


def test_kept_parts_are_told_as_progress_and_the_network_stays_closed(tmp_path):
    expected = list(embed_parts(IMAGES, embedder_of(corner_network), silent, KeptParts(tmp_path / "kept")))
    told = []
    found = list(embed_parts(IMAGES, lambda: pytest.fail("was opened"), told.append, KeptParts(tmp_path / "kept")))
    assert told == [4, 4, 1]
    for part, again in zip(expected, found, strict=True):
        np.testing.assert_array_equal(part, again)


def test_a_part_is_on_its_way_to_the_file_before_the_next_one_is_made(tmp_path):
    sizes = []

    def network(images):
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
        return corner_network(images).repeat(64, axis=1)  # more than what files hold back

    shape = write_embeddings(tmp_path / "e.npy", embed_parts(IMAGES, embedder_of(network, 4), silent), 9)
    assert shape == (9, 2, 147 * 64)
    part = 4 * 2 * 147 * 64 * 4
    assert sizes == [0, 0, part + 128, part + 128, 2 * part + 128, 2 * part + 128]  # behind the head, in both views
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), direct(IMAGES).repeat(64, axis=2))


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    def peak(count):
        shown = Shown([IMAGES[0]] * count)
        network = embedder_of(lambda images: np.zeros((len(images), 8192), np.float32), 4)
        tracemalloc.start()
        write_embeddings(tmp_path / f"{count}.npy", embed_parts(shown, network, silent), count)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(16)  # whatever is allocated once
    assert peak(160) < peak(80) + 1_000_000  # 80 more images have 5.2 MB


@pytest.mark.parametrize("kind", [KeyboardInterrupt, InvalidInput])
def test_what_ends_it_leaves_nothing(tmp_path, kind):
    def network(images):
        if len(images) == 1:
            raise kind("ended")
        return corner_network(images)

    with pytest.raises(kind):
        write_embeddings(tmp_path / "e.npy", embed_parts(IMAGES, embedder_of(network, 4), silent), 9)
    assert list(tmp_path.iterdir()) == []


def test_a_volume_without_room_for_all_is_told_with_the_first_part(tmp_path):
    seen = []

    def network(images):
        seen.append(len(images))
        return corner_network(images)

    with small_volume.mounted(tmp_path / "volume", "8k") as volume:
        with pytest.raises(ArcFaceError, match=r"e\.npy: cannot be written \(No space left on device\)"):
            write_embeddings(volume / "e.npy", embed_parts(IMAGES, embedder_of(network, 4), silent), 9)
        assert list(volume.iterdir()) == []
    assert seen == [4, 4]
