"""Verification sets: pickles that are never unpickled, here beside Python's own reader with a short list of names."""

import io
import pickle
from typing import Any

import numpy as np

from arcface_faces.pairs import pair_set
from fuzz import scratch
from fuzz.target import Target

IMAGES = [b"\xff\xd8'\"\\\n\r\x00\x85", b"", bytes(range(256)), b"\xff\xd8" * 40]
NAMES = {
    ("_codecs", "encode"), ("builtins", "bytes"), ("builtins", "bytearray"), ("__builtin__", "bytes"),
    ("__builtin__", "bytearray"), ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"), ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
}  # fmt: skip
"""What numpy's and Python's own pickles of bytes and truth values call, and nothing else."""


def targets() -> list[Target]:
    """Of verification sets."""
    return [Target(name="pair-pickle", samples=_samples(), read=_read, agrees=_is_that_set)]


def _samples() -> list[bytes]:
    arrays = [np.frombuffer(data, np.uint8).copy() for data in IMAGES]
    texts = [data.decode("latin-1") for data in IMAGES]
    values: list[Any] = [
        (IMAGES, [True, False]),
        (arrays, np.array([True, False])),
        (texts, [1, 0]),
        [IMAGES, (True, False)],
    ]
    values.append((np.array([*IMAGES, None], object)[:-1], [np.True_, np.False_]))
    return [pickle.dumps(value, protocol) for value in values for protocol in range(6)]


def _read(data: bytes) -> tuple[list[bytes], list[bool]]:
    stored = pair_set.read_pair_pickle(scratch.write("set.bin", data))
    return [stored.image_bytes(number) for number in range(len(stored.slices))], stored.is_same.tolist()


class _Careful(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        assert (module, name) in NAMES, f"a name that is refused: {module}.{name}"
        # Python 2's name, which Python looks up no more once another protocol is told of in the midst of a pickle.
        return super().find_class({"__builtin__": "builtins"}.get(module, module), name)


def _is_that_set(data: bytes, value: tuple[list[bytes], list[bool]]) -> bool:
    try:
        images, labels = _Careful(io.BytesIO(data), encoding="latin1").load()
    except (TypeError, ValueError, RuntimeError):
        return True  # numpy refuses flags of a dtype that say nothing of bytes and truth values
    except Exception:  # noqa: BLE001 - whatever it is that pickle makes of these bytes
        return False
    flat = labels.ravel().tolist() if isinstance(labels, np.ndarray) else labels
    return value == ([_as_bytes(image) for image in _items(images)], [bool(label) for label in flat])


def _items(images: Any) -> Any:
    return images.ravel() if isinstance(images, np.ndarray) else images


def _as_bytes(image: Any) -> bytes:
    if isinstance(image, str):
        return image.encode("latin-1")
    return image.tobytes() if isinstance(image, np.ndarray) else bytes(image)
