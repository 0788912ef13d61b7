import io
import pickle
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from arcface_api.errors import InvalidInput
from arcface_faces.embedding.vectors import read_embeddings, write_embeddings

ROWS = np.random.default_rng(3).normal(size=(6, 2, 5)).astype(np.float32)


def saved(path, array):
    np.save(path, array, allow_pickle=True)
    return path


def test_one_view_becomes_a_view_axis_of_one(tmp_path):
    embeddings = read_embeddings(saved(tmp_path / "e.npy", ROWS[:, 0]), 6)
    assert embeddings.shape == (6, 1, 5)
    np.testing.assert_array_equal(embeddings[:, 0], ROWS[:, 0])


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2"])
def test_other_floating_types_are_rounded_to_float32(tmp_path, dtype):
    stored = ROWS.astype(dtype)
    embeddings = read_embeddings(saved(tmp_path / "e.npy", stored), 6)
    assert embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings, stored.astype(np.float32))


def test_order_of_axes_in_the_file_does_not_matter(tmp_path):
    np.testing.assert_array_equal(read_embeddings(saved(tmp_path / "e.npy", np.asfortranarray(ROWS)), 6), ROWS)


def test_what_is_written_is_read_by_numpy(tmp_path):
    vectors = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    for name, array in {"plain.npy": vectors, "strided.npy": vectors[:, ::-1, ::2], "fortran.npy": vectors.T}.items():
        assert write_embeddings(tmp_path / name, [array[:2], array[2:]], len(array)) == array.shape
        found = np.load(tmp_path / name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row_that_is_not_finite_is_named(tmp_path, bad):
    rows = ROWS.copy()
    rows[4, 1, 2] = bad
    with pytest.raises(InvalidInput, match=r"e\.npy: row 4 holds a NaN or an infinity"):
        read_embeddings(saved(tmp_path / "e.npy", rows), 6)


def test_number_beyond_float32_is_not_finite(tmp_path):
    rows = ROWS.astype(np.float64)
    rows[2, 0, 0] = 1e300
    with pytest.raises(InvalidInput, match="row 2"):
        read_embeddings(saved(tmp_path / "e.npy", rows), 6)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        pytest.param(ROWS[:5], "has 5 rows; the set has 6 images", id="row missing"),
        pytest.param(ROWS[:, :1], r"shape \(6, 1, 5\)", id="one view of two"),
        pytest.param(ROWS[0, 0], r"shape \(5,\)", id="one row"),
        pytest.param(ROWS[:, :, :0], r"shape \(6, 2, 0\)", id="no numbers"),
        pytest.param(ROWS[:, 0, :1], "one number an image is no embedding", id="norms"),
        pytest.param(ROWS.astype(np.int32), "holds int32; embeddings are float32, float16 or float64: ", id="integers"),
        pytest.param(ROWS.astype(object), "is no .npy array of numbers", id="objects"),
    ],
)
def test_wrong_array_gets_one_line(tmp_path, array, told):
    with pytest.raises(InvalidInput, match=rf"e\.npy: .*{told}"):
        read_embeddings(saved(tmp_path / "e.npy", array), 6)


def test_views_side_by_side_are_told_apart(tmp_path):
    path = saved(tmp_path / "e.npy", ROWS.reshape(6, 10))
    np.testing.assert_array_equal(read_embeddings(path, 6, "concatenated"), ROWS)


@pytest.mark.parametrize("array", [ROWS, ROWS[:, 0], ROWS[:, 0, :2]])
def test_rows_that_hold_no_two_views_are_refused(tmp_path, array):
    with pytest.raises(InvalidInput, match=r"with --views concatenated it is \(N, 2D\)"):
        read_embeddings(saved(tmp_path / "e.npy", array), 6, "concatenated")


def test_a_row_that_looks_like_two_views_is_told(tmp_path, caplog):
    mirrored = ROWS[:, 0] + 0.3 * ROWS[:, 1]
    path = saved(tmp_path / "both.npy", np.concatenate([ROWS[:, 0], mirrored], axis=1))
    read_embeddings(path, 6, "concatenated")
    read_embeddings(saved(tmp_path / "one.npy", np.random.default_rng(0).normal(size=(50, 128))), 50)
    assert caplog.text == ""
    read_embeddings(path, 6)
    assert "both.npy: the halves of its rows look like two views of an image: give --views concatenated" in caplog.text


def test_embeddings_that_say_nothing_are_told(tmp_path, caplog):
    read_embeddings(saved(tmp_path / "equal.npy", np.ones((6, 2, 5), np.float32)), 6)
    assert "equal.npy: all 6 are equal" in caplog.text
    caplog.clear()
    read_embeddings(saved(tmp_path / "one.npy", np.ones((6, 128))), 6)
    assert [record.getMessage().partition(":")[2][:17] for record in caplog.records] == [" all 6 are equal:"]
    rows = ROWS.copy()
    rows[[2, 4], 1] = 0
    read_embeddings(saved(tmp_path / "holes.npy", rows), 6)
    assert "holes.npy: 2 of 6 are zero, the first is row 2" in caplog.text


def whole_file():
    buffer = io.BytesIO()
    np.save(buffer, ROWS)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(pickle.dumps(ROWS), id="a pickle"),
        pytest.param(whole_file()[:-1], id="cut short"),
        pytest.param(b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"{", id="header cut short"),
        pytest.param(whole_file().replace(b"(6, 2, 5)", b"(-6,2, 5)"), id="negative"),
        pytest.param(whole_file().replace(b"(6, 2, 5), }", b"(9**99999,)}"), id="expression"),
    ],
)
def test_what_is_no_array_gets_one_line(tmp_path, data):
    path = tmp_path / "e.npy"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"e\.npy: ") as caught:
        read_embeddings(path, 6)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=3))
@pytest.mark.filterwarnings("ignore::UserWarning")  # numpy's remark on headers of Python 2
def test_damaged_header_is_refused_or_has_the_right_shape(tmp_path, changes):
    path = tmp_path / "e.npy"
    data = bytearray(whole_file())
    for position, value in changes:
        data[position] = value
    path.write_bytes(data)
    with suppress(InvalidInput):
        assert read_embeddings(path, 6).shape[0] == 6


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"none\.npy: cannot be read \(No such file"):
        read_embeddings(tmp_path / "none.npy", 6)
