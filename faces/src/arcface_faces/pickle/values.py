"""What the pickle of a pair set may hold, and the few functions and classes that it may name.

Those are re-enacted on slices instead of called.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from arcface_api.errors import InvalidInput
from arcface_faces.pickle.stream import LATIN1, Coding, FileSlice, SlicedFile

SPELLINGS = {"?": "b1", "bool": "b1", "uint8": "u1", "int64": "i8", "int32": "i4", "O8": "O", "O4": "O", "object": "O"}
"""Other ways to write a code of `DTYPES`."""
DTYPES = frozenset({"b1", "O", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))})
"""Truth values, objects, and whole numbers by kind and bytes."""
OBJECTS, OBJECT_FLAGS = "O", 63


@dataclass(slots=True)
class Dtype:
    """A numpy dtype by its code; of the state that may be set only the order of bytes says more."""

    code: str
    order: str = "<"

    @property
    def item_bytes(self) -> int:
        """Bytes of one item; 0 for objects, which lie elsewhere."""
        return 0 if self.code == OBJECTS else int(self.code[1:])

    @property
    def numpy(self) -> str:
        """As numpy spells it."""
        return f"{self.order}{self.code}"


@dataclass(slots=True)
class Array:
    """A numpy array; both are missing between its making and the setting of its state."""

    data: "FileSlice | Items | None" = None
    dtype: Dtype | None = None


@dataclass(slots=True)
class Items:
    """A list of the pickle, packed: images as the four numbers of their slices, truth values as bytes."""

    slices: "array[int]" = field(default_factory=lambda: array("q"))
    flags: bytearray = field(default_factory=bytearray)
    nested: list[object] = field(default_factory=list)
    """Lists, tuples and other arrays than an image's."""

    def __len__(self) -> int:
        """Number of items of all kinds."""
        return len(self.slices) // len(FileSlice._fields) + len(self.flags) + len(self.nested)

    def append(self, item: object) -> None:
        """Add an image, a truth value, or one of the two lists of a set."""
        match item:
            case FileSlice(is_text=False):
                self.slices.extend(item)
            case FileSlice():  # what Python 3 makes of byte strings of Python 2, told that they are Latin-1
                self.slices.extend(item._replace(coding=LATIN1[item.coding]))
            case Array(data=FileSlice() as part, dtype=Dtype(code="u1")):
                self.slices.extend(part)
            case bool() | 0 | 1:
                self.flags.append(bool(item))
            case Items() | tuple() | Array():
                self.nested.append(item)
            case _:
                raise InvalidInput("a list holds something else than encoded images or truth values")

    @classmethod
    def of(cls, value: object) -> Self | None:
        """A list, a tuple or an array of objects as a list; None for anything else."""
        match value:
            case cls():
                return value
            case Array(data=cls() as items):
                return items
            case tuple():
                items = cls()
                for item in value:
                    items.append(item)
                return items
        return None


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle may call."""

    name: str
    call: Callable[[SlicedFile, tuple[object, ...]], object]


def _encoded_text(file: SlicedFile, arguments: tuple[object, ...]) -> object:
    """`_codecs.encode(text, "latin1")`: how Python 3 writes bytes in the protocols 0 to 2."""
    match arguments:
        case (FileSlice(is_text=True) as text, FileSlice() as encoding) if file.word(encoding) in {"latin1", "latin-1"}:
            return text._replace(coding=LATIN1[text.coding])
    raise InvalidInput("encode() is not called with text and latin1")


def _byte_string(file: SlicedFile, arguments: tuple[object, ...]) -> object:
    """`bytes()`, `bytearray()`, `bytearray(bytes)` or `bytearray(text, "latin-1")`."""
    match arguments:
        case ():
            return FileSlice(0, 0, Coding.BYTES)
        case (FileSlice(is_text=False) as data,):
            return data
        case (FileSlice(is_text=True), FileSlice()):
            return _encoded_text(file, arguments)
    raise InvalidInput("a byte string is made of something else than bytes")


def _dtype(file: SlicedFile, arguments: tuple[object, ...]) -> object:
    """`numpy.dtype("u1", False, True)`, or `"b1"`."""
    match arguments:
        case (FileSlice() as code, int(), int()) if (known := _known_dtype(file.word(code))) is not None:
            return known
        case (FileSlice() as code, *_):
            raise InvalidInput(f"an array has items of dtype {file.word(code)!r}; images are uint8")
    raise InvalidInput("dtype() is called without a code")


def _known_dtype(name: str) -> Dtype | None:
    bare = name.lstrip("<>|=")
    code = SPELLINGS.get(bare, bare)
    return Dtype(code, ">" if name.startswith(">") else "<") if code in DTYPES else None


def _empty_array(_file: SlicedFile, arguments: tuple[object, ...]) -> object:
    """`_reconstruct(ndarray, (0,), b"b")`: the array whose state follows."""
    match arguments:
        case (Global(name="ndarray"), (0,), FileSlice()):
            return Array()
    raise InvalidInput("_reconstruct() is not called for an empty ndarray")


def _array_of_buffer(_file: SlicedFile, arguments: tuple[object, ...]) -> object:
    """`_frombuffer(buffer, dtype, shape, order)`: arrays in protocol 5."""
    match arguments:
        case (FileSlice(is_text=False) as data, Dtype() as items, tuple() as shape, FileSlice()):
            return _filled_array(data, items, shape)
    raise InvalidInput("_frombuffer() is not called with bytes, a dtype, a shape and an order")


def _numpy_scalar(file: SlicedFile, arguments: tuple[object, ...]) -> object:
    """`scalar(dtype, bytes)` of a truth value, which may be a whole number."""
    match arguments:
        case (Dtype(code=code, order=order) as items, FileSlice(is_text=False) as data) if code != OBJECTS:
            value = file.read(data)
            number = int.from_bytes(value, "big" if order == ">" else "little")
            if len(value) == items.item_bytes and number in {0, 1}:
                return number == 1
    raise InvalidInput("a numpy scalar is not a truth value")


def _not_callable(_file: SlicedFile, _arguments: tuple[object, ...]) -> object:
    """`numpy.ndarray` itself, which is only an argument."""
    raise InvalidInput("ndarray() is called directly")


def _filled_array(data: FileSlice, items: Dtype, shape: tuple[object, ...]) -> Array:
    """An array of plain items in one dimension, or in two of which one has length 1."""
    lengths = [length for length in shape if type(length) is int and 0 <= length < 1 << 40]
    if len(lengths) != len(shape) or len(lengths) not in {1, 2} or (len(lengths) == 2 and 1 not in lengths):
        raise InvalidInput("an array has another shape than (N,) or (N, 1)")
    if items.code == OBJECTS:
        raise InvalidInput("an array of objects is stored as bytes")
    size = max(lengths) if 0 not in lengths else 0
    return Array(data._replace(size=size * items.item_bytes), items)


def _flags_of(items: Dtype) -> int:
    """What numpy writes of how it keeps such items; other bits have its own reader read wrong memory."""
    return OBJECT_FLAGS if items.code == OBJECTS else 0


def set_state(file: SlicedFile, target: object, state: object) -> None:
    """What BUILD does to an array or a dtype."""
    match target, state:
        case Array(), (1, tuple() as shape, Dtype() as items, int(), FileSlice(is_text=False) as data):
            filled = _filled_array(data, items, shape)
            target.data, target.dtype = filled.data, filled.dtype
        case Array(), (1, (int() as size,) | (int() as size, 1), Dtype(code="O") as items, int(), Items() as objects):
            if size != len(objects):
                raise InvalidInput(f"an array of {size} objects holds {len(objects)}")
            target.data, target.dtype = objects, items
        case Dtype() as items, (3, FileSlice() as order, None, None, None, -1, -1, int() as flags) if (
            flags == _flags_of(items)
        ):
            items.order = ">" if file.word(order) == ">" else "<"
        case _:
            raise InvalidInput("the state of something else than a numpy array is set")


ALLOWED: dict[tuple[str, str], Global] = {
    (module, name): Global(name, call)
    for name, call, modules in [
        ("encode", _encoded_text, ["_codecs"]),
        ("bytes", _byte_string, ["builtins", "__builtin__"]),
        ("bytearray", _byte_string, ["builtins", "__builtin__"]),
        ("dtype", _dtype, ["numpy"]),
        ("ndarray", _not_callable, ["numpy"]),
        ("_reconstruct", _empty_array, ["numpy.core.multiarray", "numpy._core.multiarray"]),
        ("scalar", _numpy_scalar, ["numpy.core.multiarray", "numpy._core.multiarray"]),
        ("_frombuffer", _array_of_buffer, ["numpy.core.numeric", "numpy._core.numeric"]),
    ]
    for module in modules
}


def allowed_global(module: str, name: str) -> Global:
    """The stand-in of a global; InvalidInput for any that a pair set has no use for."""
    if (found := ALLOWED.get((module, name))) is None:
        raise InvalidInput(f"the pickle names {f'{module}.{name}'!a}: refused, not executed")
    return found
