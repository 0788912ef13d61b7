"""Embeddings as arrays, and as `.npy` files that something else has made: a row an image, in the order of the set."""

import errno
import io
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from arcface_api.errors import InvalidInput, explained
from arcface_faces import whole_file
from arcface_faces.positioned_file import open_regular

Embeddings = NDArray[np.float32]
"""(N, V, D): N images in V = 2 views (original, mirrored) or 1, D numbers."""
BLOCK = 2048
"""Images, an even number, that are looked at in one go."""
Views = Literal["separate", "concatenated"]
"""How a file holds mirrored views: as an axis of two, or as the second half of each row, as `eval_ijbc.py` does."""
VIEWS: tuple[Views, ...] = get_args(Views)
ALIKE = 0.5
"""Cosine of the halves of a row from which on they look like two views of an image; those of one view have about 0."""
LOG = logging.getLogger(__name__)


def nonzero_norms(vectors_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) lengths of the vectors, by which they become units; 1 for zeros, which stay zeros."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))
    return np.where(norms == 0, 1, norms)


def read_embeddings(path: Path, images: int, views: Views = "separate") -> Embeddings:
    """Embeddings (N, V, D) of N images in V = 1 or 2 views, mapped from the file where it holds float32.

    The file's array is (N, D), (N, 2, D), or (N, 2D) with `concatenated` views; other floating types are rounded to
    float32, in which networks answer. InvalidInput names the first row that is not finite.
    """
    stored = _map_file(path)
    _check_shape(path, stored, images)
    if views == "concatenated":
        stored = _separated(path, stored)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is reported as such
        rounded = stored.astype(np.float32, copy=False)
    embeddings = rounded if stored.ndim == 3 else rounded[:, None, :]
    check_finite(embeddings, str(path))
    for _ in tell_degenerate(_blocks(embeddings), str(path)):
        pass
    if _halves_look_alike(embeddings):
        LOG.warning("%s: the halves of its rows look like two views of an image: give --views concatenated", path)
    return embeddings


def write_embeddings(path: Path, parts: Iterable[Embeddings], count: int) -> tuple[int, ...]:
    """Write a `.npy` of `count` rows, whole or not at all, as its parts come; memory holds one of them.

    Returns:
        Its shape.

    Raises:
        ArcFaceError: where it cannot be written; where there is no room for all of it, with the first part.
    """
    shape: tuple[int, ...] = ()
    with explained(path, "cannot be written", "name another file"), whole_file.replacing(path) as file:
        for part in parts:
            if not shape:
                shape = (count, *part.shape[1:])
                if shutil.disk_usage(path.parent).free < math.prod(shape) * part.itemsize:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                file.write(header(shape))
            file.write(np.ascontiguousarray(part).data)
    return shape


def header(shape: tuple[int, ...]) -> bytes:
    """What a `.npy` with an array of float32 begins with."""
    written = io.BytesIO()
    facts = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(written, facts)  # type: ignore[no-untyped-call]
    return written.getvalue()


def _separated(path: Path, stored: NDArray[np.generic]) -> NDArray[np.generic]:
    """(N, 2D) as (N, 2, D)."""
    if stored.ndim != 2 or stored.shape[1] % 2 or stored.shape[1] < 4:
        raise InvalidInput(f"{path}: has shape {stored.shape}; with --views concatenated it is (N, 2D)")
    return stored.reshape(len(stored), 2, -1)


def _halves_look_alike(embeddings_NVD: Embeddings) -> bool:
    """Whether one view may be two, side by side; rows that are all equal tell nothing of it."""
    dimensions, rows = embeddings_NVD.shape[2], embeddings_NVD[:BLOCK, 0]
    if embeddings_NVD.shape[1] != 1 or dimensions % 2 or dimensions < 4 or (rows == rows[0]).all():
        return False
    first, second = np.split(rows.astype(np.float64), 2, axis=1)
    lengths = nonzero_norms(first) * nonzero_norms(second)
    return float(np.median((first * second).sum(axis=1) / lengths)) > ALIKE


def tell_degenerate(blocks: Iterable[Embeddings], source: str) -> Iterator[Embeddings]:
    """The same blocks of rows; behind the last one a warning of rows that tell no images apart or are zero."""
    first, are_equal, count, zeros, first_zero = None, True, 0, 0, 0
    for block in blocks:
        first = block[0] if first is None else first
        are_equal = are_equal and bool((block == first).all())
        is_zero = ~block.any(axis=2).all(axis=1)
        first_zero = first_zero if zeros or not is_zero.any() else count + int(np.argmax(is_zero))
        zeros, count = zeros + int(is_zero.sum()), count + len(block)
        yield block
    if count > 1 and are_equal:
        LOG.warning(
            "%s: all %d are equal: they tell nobody apart; the network or what it is given is wrong", source, count
        )
    elif zeros:
        LOG.warning("%s: %d of %d are zero, the first is row %d: embed those again", source, zeros, count, first_zero)


def _blocks(embeddings_NVD: Embeddings) -> Iterator[Embeddings]:
    for start in range(0, len(embeddings_NVD), BLOCK):
        yield embeddings_NVD[start : start + BLOCK]


def check_finite(
    embeddings: Embeddings, source: str, first_row: int = 0, remedy: str = "embed that image again"
) -> None:
    """InvalidInput naming the first row with a NaN or an infinity; rows count from `first_row`."""
    for start in range(0, len(embeddings), BLOCK):
        block = embeddings[start : start + BLOCK]
        wrong = np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(axis=1))
        if len(wrong):
            row = first_row + start + int(wrong[0])
            raise InvalidInput(f"{source}: row {row} holds a NaN or an infinity: {remedy}")


def _map_file(path: Path) -> NDArray[np.generic]:
    try:
        with explained(path, "cannot be read", "correct the path"):
            open_regular(path).close()
            # Maps the file; refuses arrays of objects, whose reading would execute what the file says.
            mapped: NDArray[np.generic] = np.lib.format.open_memmap(path, mode="r")  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, OverflowError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"{path}: is no .npy array of numbers ({reason}): write it with numpy.save") from error
    return mapped


def _check_shape(path: Path, stored: NDArray[np.generic], images: int) -> None:
    if not np.issubdtype(stored.dtype, np.floating):
        raise InvalidInput(
            f"{path}: holds {stored.dtype}; embeddings are float32, float16 or float64: write what the network answers"
        )
    if stored.ndim not in {2, 3} or (stored.ndim == 3 and stored.shape[1] != 2) or 0 in stored.shape:
        raise InvalidInput(f"{path}: has shape {stored.shape}; embeddings are (N, D), or (N, 2, D) with mirrored views")
    if stored.shape[-1] == 1:
        raise InvalidInput(
            f"{path}: has shape {stored.shape}: one number an image is no embedding; write those instead"
        )
    if len(stored) != images:
        raise InvalidInput(f"{path}: has {len(stored)} rows; the set has {images} images and needs a row for each")
