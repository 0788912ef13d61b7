"""Changes of valid bytes that know their structure: raw bytes with lengths in them, text in fields, JSON."""

import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutate = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""From a sample, and others to splice with, to an input."""
LONGEST = 1 << 16
"""Bytes of an input."""
EDGES = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 2**29 - 1, 2**29, 2**31 - 1, 2**31, 2**32 - 1)
WIDE_EDGES = (*EDGES, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
FORMATS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q", "<f", "<d")
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
ODD_NUMBERS = (
    b"0", b"-0", b"-1", b"1", b"--5", b"+1", b"1_0", b"01", b"0x10", b"1.5", b".5", b"5.", b"1e3", b"1e309", b"-1e309",
    b"nan", b"-inf", b"Infinity", b"1" * 19, b"9" * 18, b"9" * 40, b"1" * 5000, b"2147483648", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551616", "\u0663".encode(), "\uff11".encode(), "\u00b2".encode(), b"",
)  # fmt: skip
ODD_TEXTS = (
    "", " ", "\t", "\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1a", "\x1c", "\x1f", "\x7f", "\x85", "\xa0", "\xad",
    "\u2028", "\u2029", "\u200b", "\u202e", "\ufeff", "\ufffd", "\U0001f600", "e\u0301", '"', "'", '""', '"\n',
    ",", ";", "\\", "/", "..", "../../x", "%s", "{}", "${x}", "*", "&a", "!!python/object/apply:os.system", "A" * 300,
    "\u00e9" * 5000,
)  # fmt: skip
ODD_BYTES = (
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\x80",
    b"\x00\x00\x00\x00",
    b"\xff" * 8,
)
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 2**31, 2**53, 2**63, 2**64, 10**40, float("nan"), float("inf"),
    "", "0", "-1", "x", "\u0000", "\u2028", "a\nb", "/", "..", "A" * 5000, [], {}, [[]], [None], {"": None}, [0] * 500,
)  # fmt: skip


def mutate_bytes(random: Random, sample: bytes, others: Sequence[bytes]) -> bytes:
    """A few changes at random places of raw bytes."""
    data = bytearray(sample)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5, 12))):
        random.choice(_BYTE_CHANGES)(random, data, others)
    return bytes(data[:LONGEST])


def _flip(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice((0, 255, 128, 127, random.randrange(256)))


def _write_number(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """A length, a count or a size that is another, in any width and order."""
    form = random.choice(FORMATS)
    edge = random.choice((*WIDE_EDGES, random.randrange(1 << 12), len(data), max(len(data) - random.randrange(16), 0)))
    number = float(edge) if form in {"<f", "<d"} else edge % (1 << 8 * struct.calcsize(form))
    written = struct.pack(form, random.choice((number, float("nan"), -1.0)) if form in {"<f", "<d"} else number)
    place = random.randrange(len(data) + 1)
    data[place : place + len(written)] = written


def _add_to_number(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    if data:
        place = random.randrange(len(data))
        data[place] = (data[place] + random.choice((-4, -1, 1, 4))) % 256


def _cut(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    start = random.randrange(len(data) + 1)
    del data[start : start + random.choice((1, 2, 4, 8, random.randrange(64) + 1))]


def _truncate(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    del data[random.randrange(len(data) + 1) :]


def _repeat(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    start = random.randrange(len(data) + 1)
    piece = data[start : start + random.randrange(48) + 1]
    data[start:start] = piece * random.choice((1, 1, 2, 50))


def _insert(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    place = random.randrange(len(data) + 1)
    data[place:place] = random.choice((random.randbytes(random.randrange(9)), random.choice(ODD_BYTES)))


def _splice(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    other = random.choice(others)
    start, place = random.randrange(len(other) + 1), random.randrange(len(data) + 1)
    if random.random() < 0.5:
        data[place:] = other[start:]
    else:
        data[place:place] = other[start : start + random.randrange(64) + 1]


def _write_odd_digits(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    found = list(NUMBER.finditer(data[:4096]))
    if found:
        start, stop = random.choice(found).span()
        data[start:stop] = random.choice(ODD_NUMBERS)


_BYTE_CHANGES = (
    _flip, _flip, _set, _write_number, _write_number, _add_to_number, _cut, _truncate, _repeat, _insert, _splice,
)  # fmt: skip


def mutate_text(random: Random, sample: bytes, others: Sequence[bytes]) -> bytes:
    """Changes of words, lines, separators and letters; a tenth are those of bytes."""
    data = bytearray(sample)
    for _ in range(random.choice((1, 1, 2, 2, 3, 5))):
        random.choice(_TEXT_CHANGES)(random, data, others)
    if random.random() < 0.1:
        return mutate_bytes(random, bytes(data), others)
    if random.random() < 0.02:
        text = data.decode("utf-8", "replace")
        return text.encode(random.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1")), "replace")
    return bytes(data[:LONGEST])


def _insert_text(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    place = random.randrange(len(data) + 1)
    data[place:place] = random.choice(ODD_TEXTS).encode()


def _change_line(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Drop, repeat, empty or borrow a line."""
    lines = bytes(data).split(b"\n")
    place = random.randrange(len(lines))
    borrowed = random.choice(random.choice(others).split(b"\n"))
    lines[place : place + 1] = random.choice(([], [lines[place]] * 2, [b""], [lines[place], borrowed], [borrowed]))
    data[:] = b"\n".join(lines)


def _change_separator(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    old, new = (random.choice((b",", b";", b"\t", b" ", b"\n", b"\r\n", b"\r", b":", b"|")) for _ in range(2))
    data[:] = bytes(data).replace(old, new, random.choice((1, 2, -1)))


def _change_word(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    words = list(re.finditer(rb"[^\s,;:]+", data[:4096]))
    if words:
        start, stop = random.choice(words).span()
        data[start:stop] = random.choice((b"", *(text.encode() for text in ODD_TEXTS), *ODD_NUMBERS))


_TEXT_CHANGES = (
    _insert_text, _change_line, _change_separator, _change_word, _write_odd_digits, _write_odd_digits, _cut, _splice,
)  # fmt: skip


def mutate_json(random: Random, sample: bytes, others: Sequence[bytes]) -> bytes:
    """Changes of values, keys and depth of a document; a quarter are those of text."""
    try:
        document = json.loads(sample)
    except (ValueError, RecursionError):
        return mutate_text(random, sample, others)
    if random.random() < 0.25:
        return mutate_text(random, sample, others)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        document = _changed(random, document)
    text = json.dumps(document, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.05:  # a key that comes twice
        text = re.sub(r'("[^"]+": *)("[^"]*"|[\d.]+)', r"\1null, \1\2", text, count=1)
    return text.encode("utf-8", "surrogatepass")[:LONGEST]


def _changed(random: Random, value: Any) -> Any:
    """The value with something within it changed, at any depth."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        return (
            {**value, key: _changed(random, value[key])}
            if random.random() < 0.75
            else _keys_changed(random, value, key)
        )
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        changed = random.choice(([], [value[place]] * 2, [_changed(random, value[place])], [value[place]] * 300))
        return [*value[:place], *changed, *value[place + 1 :]]
    return _other_value(random, value)


def _keys_changed(random: Random, value: dict[str, Any], key: str) -> dict[str, Any]:
    others = {name: each for name, each in value.items() if name != key}
    odd = random.choice((key.upper(), f"{key}x", "", "\x00", "__class__"))
    return random.choice((others, {**others, odd: value[key]}, {**value, odd: random.choice(ODD_VALUES)}))


def _other_value(random: Random, value: Any) -> Any:
    nested: Any = value
    for _ in range(random.choice((1, 2, 300))):
        nested = random.choice(([nested], {"a": nested}))
    is_number = isinstance(value, int | float) and abs(value) < 10**300
    number = value * random.choice((-1, 2, 10**9)) if is_number else value
    text = f"{value}{random.choice(ODD_TEXTS)}" if isinstance(value, str) else repr(value)[:99]
    return random.choice((*ODD_VALUES, nested, number, number, text, text, chr(random.choice((0xD800, 0xDFFF)))))
