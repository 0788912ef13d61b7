"""Where values of a pickle wait: stack, marks, memo and the two packed lists of a pair set."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from arcface_api.errors import InvalidInput
from arcface_faces.pickle.globals import Array
from arcface_faces.pickle.stream import FileSlice

MOST_LISTS = 16
DAMAGED = "the pickle is damaged (its stack does not work out): copy the file again"


@dataclass(slots=True)
class Items:
    """A list of the pickle, packed: images as the four numbers of their slices, truth values as bytes."""

    slices: "array[int]" = field(default_factory=lambda: array("q"))
    flags: bytearray = field(default_factory=bytearray)

    def append(self, item: object) -> None:
        """Add an image or a truth value."""
        match item:
            case FileSlice(is_text=False):
                self.slices.extend(item)
            case Array(data=FileSlice() as part, is_bool=False):
                self.slices.extend(part)
            case bool() | 0 | 1:
                self.flags.append(bool(item))
            case FileSlice():
                raise InvalidInput("a list holds text, not images: pickle the encoded bytes of each image")
            case _:
                raise InvalidInput("a list holds something else than encoded images or truth values")


class PickleStack:
    """InvalidInput, without the file's name, wherever a value is missing."""

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
