"""Event files are read back by TensorBoard's contract: framing, checksums, tags, steps, times."""

import struct

from tensorboardX.proto.event_pb2 import Event

from arcface_api.contract.history import History
from arcface_evaluator.report.event_files import write_event_files
from support.builders.histories import BEGUN, figures, lines_of, write_history


def masked(data):
    """Checksum of a record, CRC-32C rotated and shifted (TensorFlow's contract, tensorflow/core/lib/hash/crc32c.h)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def events_in(path):
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert struct.unpack("<I", content[8:12]) == (masked(content[:8]),)
        data, content = content[12 : 12 + length], content[12 + length :]
        assert struct.unpack("<I", content[:4]) == (masked(data),)
        content = content[4:]
        events.append(Event.FromString(data))
    return events


def written(folder, **histories):
    write_event_files(folder, {name: History.read(source) for name, source in histories.items()})


def test_every_figure_and_accuracy_is_a_scalar_at_its_step_and_time(tmp_path):
    written(tmp_path / "events", faces=write_history(tmp_path / "faces", lines_of("a", 0, 10)))
    (file,) = (tmp_path / "events" / "faces").iterdir()
    first, *events = events_in(file)
    assert first.file_version == "brain.Event:2"
    told = [
        (event.step, {value.tag: round(value.simple_value, 4) for value in event.summary.value}) for event in events
    ]
    rest = {"train/learning_rate": 0.1, "train/images_per_second": 200.0, "train/data_wait_percent": 4.0}
    rest["train/embedding_norm"] = 7.0
    assert told == [
        (5, {"train/loss": 9.75, **rest}),
        (10, {"train/loss": 9.5, **rest}),
        (10, {"verification/set-0": 0.51, "verification/set-1": 0.61}),
    ]
    assert [event.wall_time - BEGUN.timestamp() for event in events] == [5.0, 10.0, 10.0]


def test_files_of_an_earlier_call_are_replaced_and_others_left_alone(tmp_path):
    folder = tmp_path / "events" / "faces"
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1.host").write_bytes(b"another's")
    (folder / "events.out.tfevents.1.host.arcface").write_bytes(b"an earlier one of ours")
    written(tmp_path / "events", faces=write_history(tmp_path / "faces", figures("a", 5)))
    ours = [path for path in folder.iterdir() if path.name != "events.out.tfevents.1.host"]
    assert (len(ours), len(list(folder.iterdir()))) == (1, 2)
    assert [event.step for event in events_in(ours[0])] == [0, 5]
