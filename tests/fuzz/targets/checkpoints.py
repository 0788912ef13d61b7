"""Checkpoints: the manifest behind its checksum, files of tensors, the course of a training; arrays of embeddings."""

import hashlib
import io
import json
import struct
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import save

from arcface_api.contract import history
from arcface_api.resource.spec import ModelSpec
from arcface_faces import checkpoint
from arcface_faces.embedding import vectors
from fuzz import scratch
from fuzz.mutation import mutate_bytes, mutate_json
from fuzz.target import Target
from support.builders.manifests import make_manifest

CENTERS = np.arange(12, dtype=np.float32).reshape(3, 4)
SHARD = save({"centers": CENTERS, "momentum": -CENTERS})


def targets() -> list[Target]:
    """Of checkpoints."""
    return [
        Target(name="manifest", samples=_manifests(), read=_manifest, agrees=_is_that_manifest, mutate=_mutate_sealed),
        Target(name="shard", samples=[SHARD, save({"centers": CENTERS})], read=_shard, agrees=_is_that_shard),
        Target(name="damaged-shard", samples=[SHARD], read=_damaged, agrees=_is_undamaged),
        Target(name="history", samples=_HISTORIES, read=_history, agrees=_is_that_history, mutate=mutate_json),
        Target(name="embeddings", samples=_arrays(), read=_embeddings, agrees=_are_those_embeddings),
    ]


def _entry(data: bytes) -> checkpoint.FileEntry:
    tensors = {name: checkpoint.TensorEntry(shape=[3, 4]) for name in ("centers", "momentum")}
    digest = hashlib.sha256(data).hexdigest()
    return checkpoint.FileEntry(
        name="head-0.safetensors", size=len(data), sha256=digest, first_class=0, tensors=tensors
    )


def _manifests() -> list[bytes]:
    text = make_manifest(ModelSpec(backbone="mobilefacenet"), 10, _entry(SHARD)).to_json()
    return [checkpoint.sealed(text), text.encode()]


def _mutate_sealed(random: Random, sample: bytes, others: Sequence[bytes]) -> bytes:
    """Changes below a checksum that is right, mostly: what else is there to be refused is behind it."""
    if random.random() < 0.2:
        return mutate_bytes(random, sample, others)
    text = mutate_json(random, b"{" + sample[sample.find(b'"format"') :], others)
    if random.random() < 0.1:
        return text
    content = text.removeprefix(b"{")
    return b'{"checksum":"%b",%b' % (hashlib.sha256(content).hexdigest().encode(), content)


def _manifest(data: bytes) -> checkpoint.CheckpointManifest:
    folder = scratch.place("step")
    scratch.write(f"step/{checkpoint.MANIFEST_FILE}", data)
    return checkpoint.parse_manifest(folder)


def _is_that_manifest(data: bytes, value: checkpoint.CheckpointManifest) -> bool:
    """Its numbers and names are those of the JSON, and the checksum, where there is one, is that of the text."""
    told = json.loads(data)
    seal, rest = data.split(b'",', 1)
    is_sealed = "checksum" not in told or seal.endswith(hashlib.sha256(rest).hexdigest().encode())
    names = ("step", "totalSteps", "epoch", "worldSize", "seed", "classCount", "job", "specHash", "savedAt")
    kept = json.loads(value.to_json())
    files = [(entry["name"], entry["size"], entry["sha256"]) for entry in told["files"]]
    are_files = files == [(entry.name, entry.size, entry.sha256) for entry in value.files]
    return is_sealed and are_files and all(kept[name] == told[name] for name in names[:-1])


def _shard(data: bytes) -> checkpoint.Tensors:
    """A file that the manifest describes to the byte, whatever is in it: whoever wrote it may have been wrong."""
    return _read(data, _entry(data))


def _damaged(data: bytes) -> checkpoint.Tensors:
    return _read(data, _entry(SHARD))


def _read(data: bytes, entry: checkpoint.FileEntry) -> checkpoint.Tensors:
    folder = scratch.place("shards")
    scratch.write(f"shards/{entry.name}", data)
    manifest = make_manifest(ModelSpec(backbone="mobilefacenet"), 10, entry).model_copy(update={"class_count": 3})
    return checkpoint.read_head(folder, manifest, checkpoint.ClassRange(0, 3))


def _is_that_shard(data: bytes, value: checkpoint.Tensors) -> bool:
    """The format's own rule: a length, JSON with begin and end of each tensor, the numbers."""
    (length,) = struct.unpack_from("<Q", data)
    told, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
    for name, tensor in value.items():
        start, stop = told[name]["data_offsets"]
        is_told = told[name]["dtype"] == "F32" and told[name]["shape"] == [3, 4] == list(tensor.shape)
        if not is_told or numbers[start:stop] != tensor.astype("<f4").tobytes():
            return False
    return tensor.dtype == np.float32


def _is_undamaged(data: bytes, _value: checkpoint.Tensors) -> bool:
    return data == SHARD


_START = {"job": "a", "attempt": 0, "worldSize": 2, "totalBatchSize": 8, "stepsPerEpoch": 5, "totalSteps": 20}
_LINES: list[dict[str, Any]] = [
    {"stretch": "s", "at": "2026-01-02T00:00:00Z", "step": 0, "epoch": 0.0, "start": _START},
    {"stretch": "s", "at": "2026-01-02T00:00:01Z", "step": 5, "epoch": 1.0, "loss": 2.5, "learningRate": 0.1},
    {
        "stretch": "s", "at": "2026-01-02T00:00:02Z", "step": 5, "epoch": 1.0,
        "verification": {"step": 5, "results": [{"dataset": "lfw", "accuracy": 0.9, "std": 0.1, "pairs": 60}]},
    },
]  # fmt: skip
_HISTORIES = [*(json.dumps(line).encode() for line in _LINES), b"\n".join(json.dumps(line).encode() for line in _LINES)]


def _history(data: bytes) -> history.History:
    return history.History.read(scratch.write("history.jsonl", data))


def _is_that_history(data: bytes, value: history.History) -> bool:
    """Every line that holds is one of the text, with its figures."""
    told = []
    for line in data.split(b"\n"):
        try:
            told.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    found = [(line.step, line.stretch, line.loss) for line in value.lines]
    return all(any(_says(row, *line) for row in told) for line in found) and len(found) > 0


def _says(row: Any, step: int, stretch: str, loss: float | None) -> bool:
    if not isinstance(row, dict) or row.get("stretch") != stretch or row.get("step") != step:
        return False
    return loss is None or ("loss" in row and abs(row["loss"] - loss) <= 1e-5 * abs(loss))


def _arrays() -> list[bytes]:
    found = []
    for array in (CENTERS, CENTERS.astype(np.float64), CENTERS.reshape(3, 2, 2), np.array([{}], object)):
        file = io.BytesIO()
        np.save(file, array)
        found.append(file.getvalue())
    return found


def _embeddings(data: bytes) -> Any:
    return vectors.read_embeddings(scratch.write("embeddings.npy", data), 3)


def _are_those_embeddings(data: bytes, value: vectors.Embeddings) -> bool:
    """As numpy loads the bytes without running anything of them."""
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    return bool(np.isfinite(value).all() and (value.reshape(3, -1) == loaded.astype(np.float32).reshape(3, -1)).all())
