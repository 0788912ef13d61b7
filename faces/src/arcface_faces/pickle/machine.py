"""A small interpreter of pickle opcodes: knows those that pair sets are written with and calls nothing.

Strings are kept as slices, so memory holds some hundred bytes an image whatever the images' sizes; the number of
opcodes is limited, so a file made to fill the memory ends in an error. (opcodes: `pickletools` of Python)
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from arcface_api.errors import InvalidInput
from arcface_faces.pickle.stream import Coding, FileSlice, PickleStream, SlicedFile, decimal
from arcface_faces.pickle.values import Global, Items, allowed_global, set_state

MOST_OPCODES = 1 << 22
"""An image takes 3 to 20 of them; the public sets have 14,000 images at most."""
MOST_LISTS = 16
NEWEST_PROTOCOL = 5
U1, U2, U4, U8, I4 = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<Q", "<i"))
STOP = b"."
DAMAGED = "the pickle is damaged (its stack does not work out): copy the file again"


def pickled_value(file: SlicedFile) -> object:
    """The value of the pickle; InvalidInput, naming file and byte, for what no pair set holds."""
    at = 0
    with file.stream() as opened:
        machine = Machine(PickleStream(file, opened), PickleStack())
        try:
            for _ in range(MOST_OPCODES):
                at = machine.stream.position
                if (opcode := machine.stream.take(1)) == STOP:
                    return machine.stack.only_value()
                machine.step(opcode)
        except InvalidInput as error:
            raise InvalidInput(f"{file.path}: byte {at}: {error}") from error
        except OSError:
            with file.explained(at):
                raise
    raise InvalidInput(f"{file.path}: has more than {MOST_OPCODES} pickle opcodes: split the set")


class PickleStack:
    """Where values wait: stack, marks and memo; InvalidInput, without the file's name, wherever one is missing."""

    def __init__(self) -> None:
        self._values: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._lists = 0

    def push(self, value: object) -> None:
        """Put a value on top."""
        self._values.append(value)

    def mark(self) -> None:
        """Remember how high the stack is."""
        self._marks.append(len(self._values))

    def pop(self) -> object:
        """The upmost value above the last mark."""
        self._need(1)
        return self._values.pop()

    def pop_two(self) -> tuple[object, object]:
        """The upper two values, the lower one first."""
        upper = self.pop()
        return self.pop(), upper

    def pop_many(self, count: int) -> list[object]:
        """The upper values, the lowest first."""
        self._need(count)
        return self._cut(len(self._values) - count)

    def pop_to_mark(self) -> list[object]:
        """All values above the last mark, which goes too."""
        if not self._marks:
            raise InvalidInput(DAMAGED)
        return self._cut(self._marks.pop())

    def top(self) -> object:
        """The upmost value, which stays."""
        self._need(1)
        return self._values[-1]

    def only_value(self) -> object:
        """The one value that is left at the end."""
        if len(self._values) != 1 or self._marks:
            raise InvalidInput(DAMAGED)
        return self._values[0]

    def put(self, index: int) -> None:
        """Remember the upmost value under a number."""
        self._memo[index] = self.top()

    def memoize(self) -> None:
        """Remember the upmost value under the next number."""
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        """Push a remembered value."""
        if index not in self._memo:
            raise InvalidInput(DAMAGED)
        self.push(self._memo[index])

    def push_list(self, values: Iterable[object]) -> None:
        """Put a new list on top."""
        self._lists += 1
        if self._lists > MOST_LISTS:
            raise InvalidInput("there are more lists than the two of a pair set")
        self.push(Items())
        self.extend(values)

    def extend(self, values: Iterable[object]) -> None:
        """Append to the list on top."""
        items = self.top()
        if not isinstance(items, Items):
            raise InvalidInput("something is appended to another value than a list")
        for value in values:
            items.append(value)

    def _need(self, count: int) -> None:
        floor = self._marks[-1] if self._marks else 0
        if len(self._values) - floor < count:
            raise InvalidInput(DAMAGED)

    def _cut(self, start: int) -> list[object]:
        values = self._values[start:]
        del self._values[start:]
        return values


@dataclass(frozen=True, slots=True)
class Machine:
    """One pass over one pickle."""

    stream: PickleStream
    stack: PickleStack

    def step(self, opcode: bytes) -> None:
        """Carry out one opcode."""
        if opcode in CONSTANTS:
            self.stack.push(CONSTANTS[opcode])
        elif opcode in STRINGS:
            coding, length = STRINGS[opcode]
            self.stack.push(self.stream.string(self.stream.integer(length), coding))
        elif opcode in INTEGERS:
            self.stack.push(self.stream.integer(INTEGERS[opcode]))
        elif opcode in ACTIONS:
            ACTIONS[opcode](self.stream, self.stack)
        else:
            raise InvalidInput(
                f"{opcode!r} is no opcode of a pair set (the pickle of a tuple: list of encoded images, list of "
                "truth values)"
            )


def _protocol(stream: PickleStream, _stack: PickleStack) -> None:
    number = stream.integer(U1)
    if number > NEWEST_PROTOCOL:
        raise InvalidInput(f"pickle protocol {number} is not known: write the set with protocol 4")


def _int_line(stream: PickleStream, stack: PickleStack) -> None:
    line = stream.line()
    stack.push(line == b"01" if line in {b"00", b"01"} else decimal(line))


def _long1(stream: PickleStream, stack: PickleStack) -> None:
    data = stream.take(stream.integer(U1))
    stack.push(int.from_bytes(data, "little", signed=True))


def _global(stream: PickleStream, stack: PickleStack) -> None:
    module, name = (stream.line().decode("latin-1") for _ in range(2))
    stack.push(allowed_global(module, name))


def _stack_global(stream: PickleStream, stack: PickleStack) -> None:
    match stack.pop_two():
        case (FileSlice(is_text=True) as module, FileSlice(is_text=True) as name):
            stack.push(allowed_global(stream.file.word(module), stream.file.word(name)))
        case _:
            raise InvalidInput(DAMAGED)


def _reduce(stream: PickleStream, stack: PickleStack) -> None:
    match stack.pop_two():
        case (Global() as function, tuple() as arguments):
            stack.push(function.call(stream.file, arguments))
        case _:
            raise InvalidInput(DAMAGED)


def _build(stream: PickleStream, stack: PickleStack) -> None:
    state = stack.pop()
    set_state(stream.file, stack.top(), state)


CONSTANTS: dict[bytes, object] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
INTEGERS = {b"J": I4, b"K": U1, b"M": U2}
STRINGS = {
    b"T": (Coding.BYTES, I4),
    b"U": (Coding.BYTES, U1),
    b"B": (Coding.BYTES, U4),
    b"C": (Coding.BYTES, U1),
    b"\x8e": (Coding.BYTES, U8),
    b"\x96": (Coding.BYTES, U8),  # a bytearray
    b"X": (Coding.UTF8, U4),
    b"\x8c": (Coding.UTF8, U1),
    b"\x8d": (Coding.UTF8, U8),
}
ACTIONS: dict[bytes, Callable[[PickleStream, PickleStack], None]] = {
    b"\x80": _protocol,
    b"\x95": lambda stream, _: stream.frame(stream.integer(U8)),
    b"I": _int_line,
    b"L": lambda stream, stack: stack.push(decimal(stream.line().removesuffix(b"L"))),
    b"\x8a": _long1,
    b"S": lambda stream, stack: stack.push(stream.quoted_line()),
    b"V": lambda stream, stack: stack.push(stream.text_line()),
    b"(": lambda _, stack: stack.mark(),
    b"0": lambda _, stack: _drop(stack.pop()),
    b"1": lambda _, stack: _drop(stack.pop_to_mark()),
    b"]": lambda _, stack: stack.push_list(()),
    b"l": lambda _, stack: stack.push_list(stack.pop_to_mark()),
    b"a": lambda _, stack: stack.extend([stack.pop()]),
    b"e": lambda _, stack: stack.extend(stack.pop_to_mark()),
    b"t": lambda _, stack: stack.push(tuple(stack.pop_to_mark())),
    b"\x85": lambda _, stack: stack.push(tuple(stack.pop_many(1))),
    b"\x86": lambda _, stack: stack.push(tuple(stack.pop_many(2))),
    b"\x87": lambda _, stack: stack.push(tuple(stack.pop_many(3))),
    b"p": lambda stream, stack: stack.put(decimal(stream.line())),
    b"q": lambda stream, stack: stack.put(stream.integer(U1)),
    b"r": lambda stream, stack: stack.put(stream.integer(U4)),
    b"\x94": lambda _, stack: stack.memoize(),
    b"g": lambda stream, stack: stack.get(decimal(stream.line())),
    b"h": lambda stream, stack: stack.get(stream.integer(U1)),
    b"j": lambda stream, stack: stack.get(stream.integer(U4)),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"b": _build,
    b"\x98": lambda _, stack: _drop(stack.top()),  # READONLY_BUFFER changes nothing here
}


def _drop(_value: object) -> None:
    """Make an expression a statement."""
