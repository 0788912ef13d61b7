"""A checkpoint's network in a file for other programs: MindIR, ONNX, and AIR for Ascend's compiler.

The exported network takes prepared images, float32 (N, 3, 112, 112). How images are prepared and where landmarks
must lie goes with it: in the metadata of an ONNX file, and beside any other as `FILE.json`. A file is kept only once it
has given the checkpoint's own embeddings of drawn images; AIR, which only Ascend's compiler reads, cannot be asked.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import mindspore
import numpy as np
import onnx
from numpy.typing import NDArray

from arcface_api.errors import ArcFaceError, InvalidInput, explained
from arcface_faces import whole_file
from arcface_faces.checkpoint import CheckpointManifest
from arcface_faces.embedding import embedder, onnx_network
from arcface_faces.images import METADATA_KEY, Preprocessing
from arcface_trainer.export import Format
from arcface_trainer.network import backbones, inference

SAMPLE = 5
"""Images that a file is tried with, together and one by one."""
TOLERANCE = 1e-4
"""Of the largest number of an embedding."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Prepared images (B, 3, 112, 112) to embeddings (B, D)."""


def export_network(folder: Path, form: Format, output: Path) -> None:
    """Write the network of a checkpoint; it appears under its name only when it has proved right.

    Raises:
        InvalidInput: where the checkpoint is damaged or the format is not to be had on this device.
        ArcFaceError: where the file does not give what the checkpoint gives.
    """
    beside = None if form == "onnx" else output.with_name(f"{output.name}.json")
    for path in filter(None, (output, beside)):
        if path.exists():
            raise InvalidInput(f"{path}: exists already; choose another name or remove it first")
    with explained(output, "its folder cannot be made", "choose another name"):
        output.parent.mkdir(parents=True, exist_ok=True)
    with (
        explained(output, "cannot be written", "choose another name"),
        tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as hidden,
        _plain_name(hidden) as plain,
    ):
        _take_device(form)
        manifest, backbone = backbones.load_backbone(folder)
        mindspore.set_context(mode=mindspore.GRAPH_MODE)
        backbone.set_train(mode=False)
        draft = plain / f"network.{form}"
        written = WRITERS[form](backbone, draft, manifest)
        if form != "air":
            _check(_open(written, form, manifest.preprocessing), backbone, manifest.preprocessing)
        _flush(written, output.parent)
        if beside is not None:
            whole_file.write_whole(beside, manifest.preprocessing.to_json() + "\n")
        written.rename(output)


@contextlib.contextmanager
def _plain_name(folder: str) -> Iterator[Path]:
    """Another name of a folder: MindSpore writes to names of ASCII letters and digits alone, and takes no space."""
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _take_device(form: Format) -> None:
    """The CPU, where files can be checked as well as written; for AIR a card, without which MindSpore refuses it.

    MindSpore 2.10 calls AIR deprecated (`mindspore.export`), and nobody has written one with this command yet.
    """
    if form != "air":
        inference.take_device("cpu")
    elif inference.found_accelerator() == "ascend":
        mindspore.set_device("Ascend", 0)
    else:
        raise InvalidInput(
            "--format air: only MindSpore on Ascend writes it, and it finds no CANN and driver here; use mindir or onnx"
        )


def _write_mindir(backbone: mindspore.nn.Cell, draft: Path, _: CheckpointManifest) -> Path:
    """MindIR for any number of images."""
    images = mindspore.Tensor(shape=[None, 3, None, None], dtype=mindspore.float32)
    mindspore.export(backbone, images, file_name=str(draft), file_format="MINDIR")
    return draft


def _write_air(backbone: mindspore.nn.Cell, draft: Path, manifest: CheckpointManifest) -> Path:
    """AIR for one image at a time: Ascend's compiler sets the batch."""
    mindspore.export(backbone, _one_image(manifest.preprocessing), file_name=str(draft), file_format="AIR")
    return draft


def _write_onnx(backbone: mindspore.nn.Cell, draft: Path, manifest: CheckpointManifest) -> Path:
    """ONNX for any number of images, which MindSpore itself writes for a fixed number only."""
    mindspore.export(backbone, _one_image(manifest.preprocessing), file_name=str(draft), file_format="ONNX")
    model = onnx.load(draft)
    _free_batch(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: manifest.preprocessing.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, draft)
    return draft


def _free_batch(model: onnx.ModelProto) -> None:
    """Let a model of one image take any number: every shape that begins with the batch has it free."""
    graph = model.graph
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    # MindSpore writes the shapes of Reshape as nodes of their own.
    constants = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        if node.op_type == "Reshape":
            shape = onnx.numpy_helper.to_array(constants[node.input[1]]).copy()
            shape[0] = -1 if -1 not in shape[1:] else 0
            constants[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(shape))


def _one_image(preprocessing: Preprocessing) -> mindspore.Tensor:
    """An input of the network."""
    return mindspore.Tensor(np.zeros((1, 3, preprocessing.height, preprocessing.width), np.float32))


def open_mindir(path: Path) -> Run:
    """The network in a MindIR file, which takes prepared images."""
    network = mindspore.nn.GraphCell(mindspore.load(str(path)))
    return lambda images: np.asarray(network(mindspore.Tensor(images)).asnumpy(), np.float32)


def _open(path: Path, form: Format, preprocessing: Preprocessing) -> embedder.Network:
    """The network in a file that was just written, as others will use it."""
    if form == "onnx":
        return onnx_network.open_onnx(path, None).network
    run = open_mindir(path)
    return lambda images: run(preprocessing.prepare(images))


def _check(network: embedder.Network, backbone: mindspore.nn.Cell, preprocessing: Preprocessing) -> None:
    """ArcFaceError unless a file gives the checkpoint's embeddings, of several images at once and of each alone."""
    random = np.random.default_rng(0)
    shape = (SAMPLE, 3, preprocessing.height, preprocessing.width)
    images = random.integers(0, 256, shape).astype(np.uint8)
    expected = backbones.as_function(backbone)(images)
    for found in (network(images), np.concatenate([network(images[row : row + 1]) for row in range(SAMPLE)])):
        difference = float(np.abs(found - expected).max() / np.abs(expected).max())
        if not difference <= TOLERANCE:
            raise ArcFaceError(f"the exported network is off by {difference:.1e} of the checkpoint's numbers; not kept")


def _flush(written: Path, folder: Path) -> None:
    """Have a file on disk, with the rights that it is to have in a folder."""
    # MindSpore writes it for its user alone; whoever may read the folder may read what is in it.
    written.chmod(folder.stat().st_mode & 0o666)
    with written.open("rb") as file:
        os.fsync(file.fileno())


WRITERS: dict[Format, Callable[[mindspore.nn.Cell, Path, CheckpointManifest], Path]] = {
    "mindir": _write_mindir,
    "onnx": _write_onnx,
    "air": _write_air,
}
