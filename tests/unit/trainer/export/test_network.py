"""Exported networks give the checkpoint's embeddings, say how images are prepared, and appear whole or not at all."""

import inspect
import json
import stat
from pathlib import Path

import mindspore
import numpy as np
import onnxruntime
import pytest
from mindspore import Tensor, nn

from arcface_api.command import run
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_api.resource.spec import ModelSpec
from arcface_faces.images import METADATA_KEY
from arcface_trainer.export import network as export_module
from arcface_trainer.export.network import export_network
from arcface_trainer.network.backbones import load_network
from support import small_volume
from support.builders.checkpoints import SMALL, write_checkpoint
from support.builders.verification_set import write_pairs

MODELS = [SMALL, ModelSpec(backbone="iresnet18", width=0.125, embedding_size=24)]
IMAGES = np.random.default_rng(5).integers(0, 256, (7, 3, 112, 112)).astype(np.uint8)
PREPARED = (IMAGES.astype(np.float32) - 127.5) / 127.5


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model.backbone)
def checkpoint(request, tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints"), request.param)


@pytest.fixture
def small(tmp_path):
    return write_checkpoint(tmp_path / "checkpoints")


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_onnx_gives_the_checkpoints_embeddings_of_any_number_of_images(tmp_path, checkpoint, batch):
    tmp_path.chmod(0o755)
    export_network(checkpoint, "onnx", tmp_path / "network.onnx")
    assert stat.S_IMODE((tmp_path / "network.onnx").stat().st_mode) == 0o644
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    found = session.run(None, {entry.name: PREPARED[:batch]})[0]
    np.testing.assert_allclose(found, load_network(checkpoint)(IMAGES)[:batch], atol=1e-4)
    told = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert (told["channels"], told["mean"], told["scale"]) == ("RGB", 127.5, 127.5)
    assert told["landmarks"][0] == [38.2946, 51.6963]


@pytest.mark.parametrize("batch", [1, 7])
def test_mindir_gives_the_checkpoints_embeddings(tmp_path, checkpoint, batch):
    export_network(checkpoint, "mindir", tmp_path / "network.mindir")
    network = nn.GraphCell(mindspore.load(str(tmp_path / "network.mindir")))
    found = network(Tensor(PREPARED[:batch])).asnumpy()
    np.testing.assert_allclose(found, load_network(checkpoint)(IMAGES)[:batch], atol=1e-4)
    assert json.loads((tmp_path / "network.mindir.json").read_text())["mean"] == 127.5


@pytest.mark.parametrize("form", ["onnx", "mindir"])
def test_a_model_is_judged_as_its_checkpoint_is(tmp_path, small, form):
    path, model = write_pairs(tmp_path / "set.bin", pairs=20), tmp_path / "für zwei Karten" / f"größer 2.{form}"
    export_network(small, form, model)
    assert not list(model.parent.glob(".*"))
    answers = []
    for source in (["--checkpoint", small], ["--model", model]):
        command = ["evaluate", "pairs", *source, "--bin", path, "--json", tmp_path / "answer.json"]
        with pytest.raises(SystemExit, match="0"):
            run([str(word) for word in command])
        answers.append(json.loads((tmp_path / "answer.json").read_text())["results"])
    assert answers[0] == answers[1]


def test_a_mindir_file_needs_the_one_beside_it_or_a_word(tmp_path, small, capsys):
    path, model = write_pairs(tmp_path / "set.bin", pairs=20), tmp_path / "network.mindir"
    export_network(small, "mindir", model)
    (tmp_path / "network.mindir.json").unlink()
    command = ["evaluate", "pairs", "--model", str(model), "--bin", str(path)]
    assert run(command) == 2
    assert "give --mean, --scale and --channels" in capsys.readouterr().err
    model.write_bytes(model.read_bytes()[:5000])
    assert run([*command, "--mean", "127.5", "--scale", "127.5"]) == 2
    assert capsys.readouterr().err.startswith(f"arcface evaluate: {model}: MindSpore cannot load it (")
    assert run([*command[:3], str(tmp_path / "none.mindir"), *command[4:]]) == 2
    assert "none.mindir: is no file" in capsys.readouterr().err


def test_a_file_that_does_not_agree_is_not_kept(tmp_path, small, monkeypatch):
    monkeypatch.setattr(export_module, "TOLERANCE", -1.0)
    out = tmp_path / "out"
    with pytest.raises(ArcFaceError, match="not kept"):
        export_network(small, "onnx", out / "network.onnx")
    assert list(out.iterdir()) == []


def test_air_is_for_ascend(tmp_path, small, capsys):
    command = ["export", "--checkpoint", small, "--format", "air", "-o", tmp_path / "network.air"]
    assert run([str(word) for word in command]) == 2
    assert capsys.readouterr().err == (
        "arcface export: --format air: only MindSpore on Ascend writes it, and it finds no CANN and driver here; use "
        "mindir or onnx\n"
    )
    assert not (tmp_path / "network.air").exists()


def test_air_is_written_as_mindspores_reference_says(tmp_path, small, monkeypatch):
    """`mindspore.export`, on the card, one image; that the file is right is for a machine with CANN to show."""
    calls = []

    def export(*arguments, **named):
        inspect.signature(real_export).bind(*arguments, **named)
        calls.append((arguments[1].shape, named["file_format"]))
        Path(named["file_name"]).write_bytes(b"air")
        Path(named["file_name"]).chmod(0o400)  # as MindSpore leaves it

    real_export = mindspore.export
    monkeypatch.setattr(mindspore, "export", export)
    monkeypatch.setattr(mindspore, "set_device", lambda *device: calls.append(device))
    monkeypatch.setattr(mindspore.device_context.ascend, "is_available", lambda: True)
    export_network(small, "air", tmp_path / "network.air")
    assert calls == [("Ascend", 0), ((1, 3, 112, 112), "AIR")]
    assert (tmp_path / "network.air").read_bytes() == b"air"
    assert json.loads((tmp_path / "network.air.json").read_text())["mean"] == 127.5


def test_an_existing_file_is_kept(tmp_path, small, capsys):
    (tmp_path / "network.onnx").write_text("mine")
    command = ["export", "--checkpoint", small, "--format", "onnx", "-o", tmp_path / "network.onnx"]
    assert run([str(word) for word in command]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "network.onnx").read_text() == "mine"
    (tmp_path / "network.mindir.json").write_text("mine")
    with pytest.raises(InvalidInput, match=r"network\.mindir\.json: exists already"):
        export_network(small, "mindir", tmp_path / "network.mindir")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="its folder cannot be made"):
        export_network(small, "onnx", tmp_path / "file" / "network.onnx")


def test_a_folder_without_checkpoints_is_one_line(tmp_path, capsys):
    command = ["export", "--checkpoint", tmp_path, "--format", "onnx", "-o", tmp_path / "network.onnx"]
    assert run([str(word) for word in command]) == 2
    assert "holds no complete checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["onnx", "mindir"])
def test_a_volume_that_is_full_is_a_line_and_keeps_no_part_of_a_file(tmp_path, small, capsys, form):
    with small_volume.mounted(tmp_path / "volume") as volume:
        small_volume.fill(volume)
        command = ["export", "--checkpoint", small, "--format", form, "-o", volume / f"network.{form}"]
        assert run([str(word) for word in command]) == 1
        assert "cannot be written (No space left on device): this may pass, try again" in capsys.readouterr().err
        assert [path.name for path in volume.iterdir()] == ["filler"]


def test_a_folder_that_may_not_be_written_is_told_before_the_network_is_made(tmp_path):
    with small_volume.mounted(tmp_path / "volume") as volume:
        small_volume.make_read_only(volume)
        with pytest.raises(InvalidInput, match=r"network\.onnx: cannot be written \(Read-only file system\)"):
            export_network(tmp_path / "no checkpoint", "onnx", volume / "network.onnx")
