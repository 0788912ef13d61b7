"""Which records of a set are its images."""

import pytest

from arcface_api.errors import InvalidInput
from arcface_faces.datasets.dataset import open_dataset
from support.builders.record_file import image, labelled, record, write_records

CLASSIC = {
    0: record(labelled((5.0, 7.0))),
    1: record(image(0, 1, b"one")),
    2: record(image(0, 2, b"two")),
    3: record(image(1, 3, b"three")),
    4: record(image(1, 4, b"four")),
    5: record(labelled((1.0, 3.0))),
    6: record(labelled((3.0, 5.0))),
}
"""Images 1 to 4 of two identities, whose records are 5 and 6."""


def test_images_are_the_keys_that_key_0_announces(tmp_path):
    write_records(tmp_path, CLASSIC)
    faces = open_dataset(tmp_path)
    assert [faces.image_bytes(index) for index in range(len(faces.labels))] == [b"one", b"two", b"three", b"four"]
    assert faces.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("key", [1, 3, 5])
def test_an_index_that_lacks_an_announced_key_is_refused(tmp_path, key):
    _, index = write_records(tmp_path, CLASSIC)
    lines = [line for line in index.read_text().splitlines() if not line.startswith(f"{key}\t")]
    index.write_text("\n".join(lines) + "\n")
    with pytest.raises(InvalidInput, match=rf"train\.idx: key {key} is missing, which key 0 announces: copy "):
        open_dataset(tmp_path)


@pytest.mark.parametrize("text", ["", "85742", "a,112,112", "85742,112"])
def test_a_property_file_of_another_form_is_told_with_an_example(tmp_path, text):
    write_records(tmp_path, CLASSIC)
    (tmp_path / "property").write_text(text)
    with pytest.raises(InvalidInput, match=r"property: .* is not .*such as 85742,112,112: write that"):
        open_dataset(tmp_path)
