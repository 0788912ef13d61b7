"""Histories as event files, which TensorBoard reads: scalars by step, with the times of the training."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2

from arcface_api.contract.history import History, HistoryLine
from arcface_api.errors import explained
from arcface_evaluator.report.history_table import Histories
from arcface_faces import whole_file

SUFFIX = ".arcface"
"""Of our files' names: those of an earlier call are replaced, others are left alone."""
TAGS = {
    "train/loss": "loss",
    "train/learning_rate": "learning_rate",
    "train/images_per_second": "images_per_second",
    "train/step_milliseconds": "step_milliseconds",
    "train/data_wait_percent": "data_wait_percent",
    "train/embedding_norm": "embedding_norm",
    "train/loss_scale": "loss_scale",
}
"""Names in TensorBoard, and the fields of a line."""
_Scalar = tuple[str, float]


def write_event_files(directory: Path, histories: Histories) -> None:
    """Write an event file for each training, in a folder of its name; those of an earlier call stay where it cannot.

    Raises:
        InvalidInput, ArcFaceError: where it cannot be written, now or at all.
    """
    for name, history in histories.items():
        folder = directory.absolute() / name
        with explained(f"--tensorboard {folder}", "cannot be written", "name another folder"):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as elsewhere:
                _write(Path(elsewhere), history)
                written = {path.name: path.read_bytes() for path in Path(elsewhere).iterdir()}
            former = list(folder.glob(f"*{SUFFIX}"))
            for file_name, content in written.items():
                with whole_file.replacing(folder / file_name) as file:
                    file.write(content)
            for path in former:
                if path.name not in written:
                    path.unlink()


def _write(folder: Path, history: History) -> None:
    # Not the usual SummaryWriter: that writes in a thread, and waits for ever where a disk has refused.
    writer = EventsWriter(str(folder / "events"), SUFFIX)
    for line in history.lines:
        values = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(line)]
        if values:
            summary = summary_pb2.Summary(value=values)
            writer.write_event(event_pb2.Event(wall_time=line.at.timestamp(), step=line.step, summary=summary))
    writer.close()


def _scalars(line: HistoryLine) -> Iterator[_Scalar]:
    """What a line tells."""
    for tag, field in TAGS.items():
        if (value := getattr(line, field)) is not None:
            yield tag, value
    if line.verification is not None:
        for result in line.verification.results:
            yield f"verification/{result.dataset}", result.accuracy
