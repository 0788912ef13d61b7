"""Which records of a set are its images, and of whom: layouts as tools leave them behind."""

import numpy as np
import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.records import layout
from arcface_faces.records.files import RecordWriter
from arcface_faces.records.layout import find_images
from arcface_faces.records.recordio import RecordFile
from support.builders.record_file import image, labelled, record, write_records

IMAGES = {key: record(image((key - 1) // 2, key, b"image %d" % key)) for key in range(1, 5)}
IDENTITIES = {5: record(labelled((1.0, 3.0))), 6: record(labelled((3.0, 5.0)))}
CLASSIC = {**IMAGES, **IDENTITIES, 0: record(labelled((5.0, 7.0)))}


def found(folder, records):
    write_records(folder, records)
    images = find_images(folder)
    return images.keys.tolist(), images.identities.tolist()


@pytest.fixture
def bytes_read(monkeypatch):
    """Bytes of record files that are read."""
    counts = []
    bytes_at = RecordFile.bytes_at

    def count(file, offset, size):
        data = bytes_at(file, offset, size)
        counts.append(len(data))
        return data

    monkeypatch.setattr(RecordFile, "bytes_at", count)
    return counts


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(CLASSIC, id="classic"),
        pytest.param({**CLASSIC, 0: record(labelled((5.0, 7.0), b"an image"))}, id="an image behind the header"),
        pytest.param({**IMAGES, 0: record(labelled((5.0, 2.0), b"an image"))}, id="images and number of identities"),
        pytest.param({**IMAGES, 0: record(labelled((5.0, 5.0)))}, id="no identity records"),
        pytest.param({**IMAGES, 0: record(labelled((5.0,)))}, id="number of images alone"),
        pytest.param(IMAGES, id="no header"),
        pytest.param(
            {**CLASSIC, 5: record(labelled((0.0, 0.0))), 6: record(labelled((0.0, 0.0)))}, id="ranges left out"
        ),
    ],
)
def test_images_and_identities_of_layouts_in_use(tmp_path, records):
    assert found(tmp_path, records) == ([1, 2, 3, 4], [0, 0, 1, 1])


def test_key_0_without_a_flag_is_an_image_like_the_others(tmp_path):
    records = {key: record(image(key // 2, key, b"x")) for key in range(4)}
    assert found(tmp_path, records) == ([0, 1, 2, 3], [0, 0, 1, 1])


def test_identity_records_spare_the_heads_of_the_images(tmp_path, bytes_read, monkeypatch):
    monkeypatch.setattr(layout, "SAMPLES", 2)
    with RecordWriter(tmp_path) as writer:
        for _ in range(100):
            writer.start_identity()
            for _ in range(10):
                writer.add(bytes(100_000))
    images = find_images(tmp_path)
    assert images.identities.tolist() == np.repeat(np.arange(100), 10).tolist()
    assert sum(bytes_read) < 100 * 48 + 1000
    file = RecordFile(tmp_path / "train.rec")
    assert all(
        file.read(int(at), int(span))[1] == bytes(100_000)
        for at, span in zip(images.offsets, images.spans, strict=True)
    )


def test_images_that_number_people_otherwise_are_gone_by(tmp_path, caplog):
    """As a part of a larger set keeps that one's numbers."""
    part = {key: record(image(7 * ((key - 1) // 2) + 3, key, b"x")) for key in range(1, 5)}
    assert found(tmp_path, {**CLASSIC, **part}) == ([1, 2, 3, 4], [3, 3, 10, 10])
    assert caplog.messages == [
        f"{tmp_path / 'train.rec'}: the heads of its images tell whose they are, not its identity records"
    ]


def four_people(**others):
    """Six images each, whose heads name them but for some; key 24 is the last image of all."""
    people = {key: others.get(f"key_{key}", (key - 1) // 6) for key in range(1, 25)}
    images = {key: record(image(person, key, b"x")) for key, person in people.items()}
    identities = {25 + person: record(labelled((6.0 * person + 1, 6.0 * person + 7))) for person in range(4)}
    return {**images, **identities, 0: record(labelled((25.0, 29.0)))}


def test_a_few_images_that_name_another_person_are_damaged_and_named(tmp_path, caplog):
    """A flipped bit makes 3 of 2: it moves no image to another person, and does not change how the set is read."""
    with pytest.raises(
        InvalidInput,
        match=r"train.rec: the heads of 2 of 24 images name other people than the identity records \(key 9 5 and "
        r"not 1, key 24 2 and not 3\): they are damaged, copy it again",
    ):
        found(tmp_path, four_people(key_24=2, key_9=5))
    assert found(tmp_path, four_people(key_9=5))[1] == np.repeat(range(4), 6).tolist(), "which its reader is told"
    assert caplog.messages == []


def test_heads_that_number_a_part_of_the_people_otherwise_leave_two_readings(tmp_path):
    with pytest.raises(
        InvalidInput,
        match=r"can be read in two ways: the heads of 6 of 24 images name other people than the identity records "
        r"\(key 19 7 and not 3, .*, 1 more\), so that either may number people: .* 'arcface data pack'",
    ):
        found(tmp_path, four_people(**{f"key_{key}": 7 for key in range(19, 25)}))


def test_an_identity_without_images_keeps_its_number(tmp_path):
    identities = {5: record(labelled((1.0, 3.0))), 6: record(labelled((3.0, 3.0))), 7: record(labelled((3.0, 5.0)))}
    images = {key: record(image(2 * ((key - 1) // 2), key, b"x")) for key in range(1, 5)}
    assert found(tmp_path, {**images, **identities, 0: record(labelled((5.0, 8.0)))}) == ([1, 2, 3, 4], [0, 0, 2, 2])


def test_records_that_the_index_does_not_list_are_not_read_with_the_image_before(tmp_path):
    records, index = write_records(tmp_path, {1: IMAGES[1], 99: record(image(0, 99, bytes(2 << 20))), 2: IMAGES[2]})
    rest = {3: IMAGES[3], 4: IMAGES[4], **IDENTITIES, 0: CLASSIC[0]}
    lines = [line for line in index.read_text().splitlines() if not line.startswith("99")]
    data = records.read_bytes()
    for key, whole in rest.items():
        lines.append(f"{key}\t{len(data)}")
        data += whole
    records.write_bytes(data)
    index.write_text("\n".join(lines))
    images = find_images(tmp_path)
    assert images.identities.tolist() == [0, 0, 1, 1]
    assert images.spans.max() < 100


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        pytest.param(
            {**IMAGES, 0: record(labelled((9.0, 12.0)))},
            r"key 0 announces \(9, 12\), which fits no reading: images up to key 8 and identities up to key 11, but "
            r"the index ends at key 4; or images alone up to key 8",
            id="header of a larger set",
        ),
        pytest.param({**IMAGES, 0: record(labelled((4.0, 2.0)))}, "fits no reading", id="one image too few"),
        pytest.param(
            {**IMAGES, 0: record(labelled((0.0,), b"x"))},
            "; or key 0 is an image of identity 0 with an array of labels, as im2rec packs several: copy train.rec and "
            "train.idx again, together, or give each image one label, or the first one key 1",
            id="an image with an array of labels",
        ),
        pytest.param({**IMAGES, 0: record(labelled((2.5, 5.0)))}, "fits no reading", id="no whole number"),
        pytest.param({**IMAGES, 0: record(labelled((0.0, 5.0)))}, "fits no reading", id="no image"),
        pytest.param(
            {**IMAGES, 0: record(labelled((3.0, 5.0)))},
            "can be read in two ways: key 0 announces images up to key 2 and identity records behind them, but key 3 "
            "holds an image, too, so that images may go up to key 4",
            id="images where identity records are announced",
        ),
        pytest.param({5: IDENTITIES[5], **IMAGES}, "the record of key 5 holds no image", id="identities, no header"),
        pytest.param({0: record(labelled((1.0, 1.0)))}, "holds no image", id="a header alone"),
    ],
)
def test_what_fits_no_reading_or_two_is_refused(tmp_path, records, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        found(tmp_path, records)


@pytest.mark.parametrize("listed", [slice(2), slice(1, None), slice(0, None, 3)], ids=["end", "start", "middle"])
def test_an_index_without_a_header_lists_all_records(tmp_path, listed):
    """Key 0 is the last line of the classic layout: an index that was copied in part has none."""
    records, index = write_records(tmp_path, IMAGES)
    lines = index.read_text().splitlines()
    index.write_text("\n".join(lines[listed]))
    missing = next(line for line in lines if line not in lines[listed]).split("\t")[1]
    with pytest.raises(InvalidInput, match=rf"idx: does not list the record at byte {missing} of train.rec: it is cut"):
        find_images(tmp_path)
    index.write_text("\n".join(lines))
    records.write_bytes(records.read_bytes() + bytes(512))
    assert find_images(tmp_path).keys.tolist() == [1, 2, 3, 4]


def test_identity_records_with_images_behind_them_are_none_the_less(tmp_path):
    pictured = {5: record(labelled((1.0, 3.0), b"x")), 6: record(labelled((3.0, 5.0), b"x"))}
    assert found(tmp_path, {**CLASSIC, **pictured}) == ([1, 2, 3, 4], [0, 0, 1, 1])


def test_more_identities_than_the_property_file_announces_are_of_another_set(tmp_path):
    (tmp_path / "property").write_text("1,112,112")
    with pytest.raises(InvalidInput, match="key 3 has label 1, but property announces 1 identities"):
        found(tmp_path, CLASSIC)


def test_beyond_what_float32_counts_the_property_file_and_the_images_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(layout.files, "EXACT_FLOAT32", 6)
    with pytest.raises(InvalidInput, match="more than 6 records need the file property beside it"):
        found(tmp_path, CLASSIC)
    (tmp_path / "property").write_text("2,112,112")
    rounded = {0: record(labelled((4.0, 8.0))), 5: record(labelled((0.0, 4.0))), 6: record(labelled((4.0, 4.0)))}
    assert found(tmp_path, {**CLASSIC, **rounded}) == ([1, 2, 3, 4], [0, 0, 1, 1])
