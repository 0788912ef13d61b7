"""What commands write on a volume that is full or may not be written: one line, and nothing half written."""

import itertools
import json
import re

import numpy as np
import pytest

from arcface_api.command import run
from support import small_volume
from support.builders.histories import lines_of, write_history
from support.builders.onnx_model import corner_model
from support.builders.verification_set import encoded_image, write_pairs

PREPARED = {"channels": "RGB", "mean": 127.5, "scale": 1.0}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model, a set, its embeddings, images with a list of pairs, a history."""
    folder = tmp_path_factory.mktemp("inputs")
    corner_model(folder / "m.onnx", metadata=json.dumps(PREPARED))
    write_pairs(folder / "lfw.bin", pairs=20)
    write_pairs(folder / "other.bin", pairs=20)
    np.save(folder / "lfw.npy", np.eye(40, 64, dtype=np.float32))
    names = [f"{number}.png" for number in range(40)]
    (folder / "images").mkdir()
    for number, name in enumerate(names):
        (folder / "images" / name).write_bytes(encoded_image(number))
    pairs = zip(names[::2], names[1::2], strict=True)
    (folder / "pairs.csv").write_text("".join(f"{a},{b},{row % 2},x\n" for row, (a, b) in enumerate(pairs)))
    write_history(folder / "run", lines_of("a", 0, 10))
    return folder


PAGE = 4096
"""Bytes that a small file takes, and what is written beside it does not find."""
NO_SPACE = (1, r"\(No space left on device\): this may pass, try again")
ENDS = {
    "full": NO_SPACE,
    "nearly full": NO_SPACE,
    "read-only": (2, r"(\(Read-only file system\): |may not be written; )name another f"),
}
"""Exit code, and what is said."""
COMMANDS = {
    "evaluate --json": "evaluate pairs --embeddings {0}/lfw.npy --bin {0}/lfw.bin --json {1}/out.json",
    "evaluate --report": "evaluate pairs --embeddings {0}/lfw.npy --bin {0}/lfw.bin --report {1}/page",
    "embed": "embed --model {0}/m.onnx --images {0}/images -o {1}/out.npy",
    "embed --dropped": "embed --model {0}/m.onnx --images {0}/images --dropped {1}/dropped.csv -o {1}/out.npy",
    "pairs make": "pairs make --list {0}/pairs.csv --images {0}/images -o {1}/made.bin",
    "pairs join": "pairs join {0}/lfw.bin {0}/other.bin -o {1}/made.bin",
    "history --report": "history {0}/run --report {1}/page",
    "history --tensorboard": "history {0}/run --tensorboard {1}/events",
}


def ended(command, inputs, volume):
    """Exit code of a command that writes on a volume."""
    try:
        return run(command.format(inputs, volume).split())
    except SystemExit as stopped:
        return stopped.code


@pytest.fixture
def volume(tmp_path):
    with small_volume.mounted(tmp_path / "volume", "256k") as folder:
        yield folder


@pytest.mark.parametrize(
    ("trouble", "command"),
    [
        *itertools.product(["full", "read-only"], COMMANDS),
        *itertools.product(["nearly full"], ["embed", "embed --dropped", "pairs make", "pairs join"]),
    ],
)
def test_one_line_says_so_and_nothing_is_half_written(inputs, volume, capsys, command, trouble):
    code, said = ENDS[trouble]
    (volume / "page").mkdir()
    (volume / "page" / "report.html").write_text("an earlier one")
    if trouble != "read-only":
        small_volume.fill(volume, left=PAGE if trouble == "nearly full" else 0)
    else:
        small_volume.make_read_only(volume)
    before = sorted(volume.rglob("*"))
    assert ended(COMMANDS[command], inputs, volume) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("arcface")]
    assert re.search(said, line), line
    assert [path for path in sorted(volume.rglob("*")) if path.is_file()] == [path for path in before if path.is_file()]
    assert (volume / "page" / "report.html").read_text() == "an earlier one"
