"""The reader against `pickle.loads` and against files made to harm."""

import io
import os
import pickle
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from arcface_api.errors import ArcFaceError, ExitCode, InvalidInput
from arcface_faces.pairs.pair_set import read_pair_pickle
from arcface_faces.pickle.values import ALLOWED

NO_BYTES = Path("/proc/self/mem")
"""Nothing is mapped at its first byte, so that reading there is an error."""
PROTOCOLS = range(6)
IMAGES = [b"\xff\xd8'\"\\\n\r\x00\x85", b"", bytes(range(256)), b"\xff\xd8" * 400]

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def flat(data: bytes) -> object:
    return np.frombuffer(data, np.uint8).copy()


def column(data: bytes) -> object:
    return np.frombuffer(data, np.uint8).copy().reshape(-1, 1)


def contents(path: Path) -> tuple[list[bytes], list[bool]]:
    read = read_pair_pickle(path)
    return [read.image_bytes(number) for number in range(len(read.slices))], read.is_same.tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [bytes, bytearray, flat, column])
@pytest.mark.parametrize("label", [bool, np.bool_, int])
def test_every_kind_of_image_and_label_is_read_in_every_protocol(tmp_path, protocol, kind, label):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps(([kind(data) for data in IMAGES], [label(1), label(0)]), protocol))
    assert contents(path) == (IMAGES, [True, False])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_labels_may_be_one_array_of_truth_values(tmp_path, protocol):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((IMAGES, np.array([True, False])), protocol))
    assert contents(path) == (IMAGES, [True, False])


ROWS = np.array([*IMAGES, None], object)[:-1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param([IMAGES, [True, False]], id="a list of both"),
        pytest.param([tuple(IMAGES), (1, 0)], id="a list of tuples"),
        pytest.param((tuple(map(flat, IMAGES)), (np.True_, np.False_)), id="tuples"),
        pytest.param((IMAGES, np.array([1, 0])), id="numbers in one array"),
        pytest.param([IMAGES, np.array([[1], [0]], ">i4")], id="numbers in one column, high byte first"),
        pytest.param((IMAGES, np.array([1, 0], np.uint8)), id="bytes in one array"),
        pytest.param((IMAGES, [np.int64(1), np.int64(0)]), id="numbers of numpy"),
        pytest.param((IMAGES, [np.dtype(">i8").type(1), np.uint8(0)]), id="other numbers of numpy"),
        pytest.param((ROWS, np.array([True, False], object)), id="arrays of objects"),
        pytest.param((ROWS[:, None], [True, False]), id="a column of objects"),
        pytest.param([ROWS, np.array([True, False])], id="a list of arrays"),
        pytest.param(([data.decode("latin-1") for data in IMAGES], [True, False]), id="text of Python 2's strings"),
        pytest.param((list(map(bytearray, IMAGES)), [1, np.bool_(0)]), id="byte arrays"),
    ],
)
def test_sets_of_other_tools_are_read(tmp_path, protocol, pickled):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps(pickled, protocol))
    assert contents(path) == (IMAGES, [True, False])


@same_folder
@given(st.lists(st.binary(max_size=300)), st.lists(st.booleans()), st.sampled_from(PROTOCOLS))
def test_any_bytes_and_truth_values_are_read_back(tmp_path, images, is_same, protocol):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((images, is_same), protocol))
    assert contents(path) == (images, is_same)


@pytest.mark.parametrize("protocol", [0, 2])
def test_arrays_written_with_numpy_2_are_read(tmp_path, protocol):
    path = tmp_path / "set.bin"
    pickled = pickle.dumps(([flat(data) for data in IMAGES], [True, False]), protocol)
    path.write_bytes(pickled.replace(b"numpy.core.", b"numpy._core."))
    assert contents(path) == (IMAGES, [True, False])


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"((lp0\nS'\\xff\\xd8\\n\\'\"'\np1\naS\"it's\"\np2\na(lp3\nI01\naI00\natp4\n.", id="protocol 0"),
        pytest.param(
            b"(]q\x00(U\x04\xff\xd8\n'q\x01T\x05\x00\x00\x00\x00\x85abcq\x02e]q\x03I01\naI00\natq\x04.", id="1"
        ),
        pytest.param(b"\x80\x02]q\x00(U\x02\xff\xd8q\x01h\x01e]q\x02(\x88\x89e\x86q\x03.", id="2, one image twice"),
    ],
)
def test_strings_of_python_2_are_bytes(tmp_path, pickled):
    path = tmp_path / "set.bin"
    path.write_bytes(pickled)
    assert contents(path) == pickle.loads(pickled, encoding="bytes")


class Harmful:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_in_a_pickle_is_named_and_not_executed(tmp_path, protocol):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps(([Harmful(tmp_path / "made"), b""], [True]), protocol))
    with pytest.raises(
        InvalidInput, match=r"set\.bin: byte \d+: the pickle names '(posix|nt)\.mkdir': refused, not ex"
    ):
        read_pair_pickle(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "named",
    [
        b"builtins\neval",
        b"os\nsystem",
        b"numpy\nload",
        b"numpy.core.multiarray\nfromfile",
        b"\xe9\x00\nx",
        b"_codecs\ndecode",
    ],
)
def test_every_global_that_a_set_has_no_use_for_is_refused(tmp_path, named):
    path = tmp_path / "set.bin"
    path.write_bytes(b"c" + named + b"\n(S'1+1'\ntR.")
    with pytest.raises(InvalidInput, match="refused, not executed"):
        read_pair_pickle(path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [bytes, flat])
def test_every_truncation_is_one_line_naming_the_file(tmp_path, protocol, kind):
    path = tmp_path / "set.bin"
    whole = pickle.dumps(([kind(data) for data in IMAGES[:2]], [np.bool_(1)]), protocol)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidInput) as caught:
            read_pair_pickle(path)
        assert str(caught.value).startswith(f"{path}: byte ")
        assert "\n" not in str(caught.value)


def contents_or_none(path):
    """What is read, or None where the file is refused in one line."""
    try:
        return contents(path)
    except InvalidInput as error:
        if "\n" in str(error):
            raise
        return None


def as_bytes_and_bools(images, is_same):
    """A set in the types that our reader gives."""
    images = [item.tobytes() if isinstance(item, np.ndarray) else bytes(item) for item in images]
    return images, [bool(label) for label in is_same]


class Oracle(pickle.Unpickler):
    """Python's own reader, limited to the names that our reader knows."""

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(name)
        return super().find_class(module.replace("numpy._core", "numpy.core"), name)


changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3)


@settings(same_folder, max_examples=1000)
@given(changes, st.sampled_from(PROTOCOLS), st.sampled_from([bytes, bytearray, flat, column]))
def test_a_damaged_file_is_refused_or_read_as_python_would(tmp_path, changes, protocol, kind):
    path = tmp_path / "set.bin"
    pickled = bytearray(pickle.dumps(([kind(data) for data in IMAGES[:3]], [np.bool_(1), False]), protocol))
    for position, value in changes:
        pickled[position % len(pickled)] = value
    path.write_bytes(pickled)
    if (found := contents_or_none(path)) is not None:
        # Python stumbles over what makes no difference here: unused dtypes, lengths of frames, large memo keys.
        with suppress(ValueError, TypeError, ArithmeticError, ImportError, MemoryError, pickle.UnpicklingError):
            expected = Oracle(io.BytesIO(pickled), encoding="bytes").load()
            assert found == as_bytes_and_bools(*expected)


@same_folder
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_result_or_one_line(tmp_path, data):
    path = tmp_path / "set.bin"
    path.write_bytes(data)
    with pytest.raises(InvalidInput):
        read_pair_pickle(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"", "ends inside", id="empty"),
        pytest.param(b"\xff\xd8\xff\xe0", "is no opcode of a pair set", id="an image"),
        pytest.param(b"\x80\x09.", "pickle protocol 9", id="protocol of the future"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62), "ends inside", id="string of 4 EiB"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", (1 << 64) - 1), "ends inside", id="length of minus one"),
        pytest.param(b"T" + struct.pack("<i", -5), "ends inside", id="negative length"),
        pytest.param(b"(" * 100_000 + b".", "does not work out", id="marks without end"),
        pytest.param(b")" + b"\x85" * 100_000 + b".", "holds something else", id="tuple in tuple in tuple"),
        pytest.param(b"]" * 100_000 + b".", "more lists than", id="many lists"),
        pytest.param(b"h\x05.", "does not work out", id="recalls what was not remembered"),
        pytest.param(b"I" + b"9" * 5000 + b"\n.", "longer than 256", id="endless number"),
        pytest.param(b"I12x\n.", "is not a number", id="not a number"),
        pytest.param(b"(]]t.", None, id="no images"),
        pytest.param(b"](K\x07e.", "something else than encoded images", id="numbers for images"),
        pytest.param(b"}.", "is no opcode of a pair set", id="a dictionary"),
        pytest.param(pickle.dumps([[b"a"], [True], []]), "holds something else", id="list of three lists"),
        pytest.param(pickle.dumps(([b"a"], [2])), "something else than encoded images or truth", id="a label of 2"),
        pytest.param(pickle.dumps(([b"a"], np.array([2]))), "other numbers than 0 and 1", id="a number of 2"),
        pytest.param(pickle.dumps(([b"a"], [np.int64(256)])), "not a truth value", id="a numpy label of 256"),
        pytest.param(pickle.dumps(([b"a"], [np.float64(1)])), "dtype 'f8'", id="a label with a fraction"),
        pytest.param(pickle.dumps(([[b"a"]], [True])), "first part holds something else", id="list in the list"),
        pytest.param(b"]q\x00h\x00a.", "holds something else", id="a list within itself"),
        pytest.param(pickle.dumps(([True], [b"a"])), "holds something else", id="wrong way round"),
        pytest.param(pickle.dumps(([b"a", True], [True])), "holds something else", id="mixed"),
        pytest.param(pickle.dumps(([np.zeros((2, 3), np.uint8)], [])), r"shape than \(N,\)", id="matrix"),
        pytest.param(pickle.dumps(([np.zeros(3, np.float32)], [])), "dtype 'f4'", id="float array"),
        pytest.param(
            pickle.dumps(([np.zeros(3, bool)], [])), "first part holds something else", id="bool array as image"
        ),
    ],
)
def test_what_is_no_pair_set_gets_one_clear_line(tmp_path, data, told):
    path = tmp_path / "set.bin"
    path.write_bytes(data)
    if told is None:
        assert contents(path) == ([], [])
        return
    with pytest.raises(InvalidInput, match=told) as caught:
        read_pair_pickle(path)
    assert str(caught.value).startswith(str(path))


def test_array_shorter_than_its_shape_is_refused_when_read(tmp_path):
    path = tmp_path / "set.bin"
    pickled = pickle.dumps(([flat(b"abcdef")], [True]), 2)
    path.write_bytes(pickled.replace(b"K\x06\x85", b"K\x07\x85"))
    with pytest.raises(InvalidInput, match="has 6 bytes, its shape says 7"):
        contents(path)


def test_an_array_of_objects_larger_than_what_it_holds_is_refused(tmp_path):
    path = tmp_path / "set.bin"
    pickled = pickle.dumps((ROWS, [True, False]), 2)
    assert pickled.count(b"K\x04\x85") == 1  # BININT1 4, TUPLE1: the shape
    path.write_bytes(pickled.replace(b"K\x04\x85", b"K\x06\x85"))
    with pytest.raises(InvalidInput, match="an array of 6 objects holds 4"):
        read_pair_pickle(path)


def test_text_that_stands_for_no_bytes_is_refused_when_read(tmp_path):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((["\u2603"], [True])))
    with pytest.raises(InvalidInput, match="cannot be decoded"):
        contents(path)


def test_number_of_opcodes_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("arcface_faces.pickle.machine.MOST_OPCODES", 1000)
    path = tmp_path / "set.bin"
    path.write_bytes(b"N0" * 501 + b".")
    with pytest.raises(InvalidInput, match="more than 1000 pickle opcodes"):
        read_pair_pickle(path)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"none\.bin: cannot be opened \(No such file"):
        read_pair_pickle(tmp_path / "none.bin")
    with pytest.raises(InvalidInput, match="is not a file"):
        read_pair_pickle(tmp_path)


def test_a_disk_that_gives_no_bytes_is_worth_another_try():
    with pytest.raises(ArcFaceError, match=r"/proc/self/mem: cannot be read at byte 0 \(Input/output error\)") as told:
        read_pair_pickle(NO_BYTES)
    assert told.value.exit_code == ExitCode.FAILED


def test_memory_does_not_hold_the_images(tmp_path):
    path = tmp_path / "set.bin"
    images = [bytes([number % 256]) * 40_000 for number in range(400)]
    path.write_bytes(pickle.dumps((images, [True] * 200), 4))
    del images
    tracemalloc.start()
    read = read_pair_pickle(path)
    total = sum(len(read.image_bytes(number)) for number in range(len(read.slices)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 16_000_000
    assert peak < 1_000_000


def test_real_set_equals_what_python_unpickles(faces):
    path = faces / "lfw_dev.bin"
    with path.open("rb") as opened:
        images, is_same = pickle.load(opened, encoding="bytes")
    assert contents(path) == (images, is_same)
