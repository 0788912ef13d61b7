"""Every option of every command that judges or embeds, beside every kind of what it may be given with."""

import re

import click
import pytest

from arcface_api.command import run
from arcface_evaluator.commands.embed import embed
from arcface_evaluator.commands.evaluate import evaluate
from support.builders.onnx_model import corner_model
from support.builders.verification_set import encoded_image

CHECKPOINT, ONNX, MINDIR, EMBEDDINGS, PAGE = "checkpoint", "ONNX file", "MindIR file", "embeddings", "embeddings, page"
SOURCES = {
    CHECKPOINT: ["--checkpoint", "none"],
    ONNX: ["--model", "none.onnx"],
    MINDIR: ["--model", "none.mindir"],
    EMBEDDINGS: ["--embeddings", "none.npy"],
    PAGE: ["--embeddings", "none.npy", "--report", "page"],
}
MODELS, NETWORKS = {ONNX, MINDIR}, {CHECKPOINT, ONNX, MINDIR}
APPLIES = {
    "--mean": ("0.5", MODELS),
    "--scale": ("0.5", MODELS),
    "--channels": ("RGB", MODELS),
    "--output": ("embedding", {ONNX}),
    "--batch-size": ("64", NETWORKS),
    "--ranks": ("1", NETWORKS),
    "--views": ("separate", {EMBEDDINGS, PAGE}),
    "--cache": (None, {CHECKPOINT}),
    "--no-cache": (None, {CHECKPOINT}),
    "--resize": (None, {*NETWORKS, PAGE}),
    "--links": ("inside", NETWORKS),
    "ijb --links": ("inside", {*NETWORKS, PAGE}),  # whose page shows images
    "--images": ("images", NETWORKS),
    "--json": ("o.json", set(SOURCES)),
    "--report": ("page", set(SOURCES)),
}
COMMANDS = {
    "pairs": ["--bin", "none.bin"],
    "ijb": ["--root", "none"],
    "identify": ["--root", "none"],
    "all-pairs": ["--list", "none.csv"],
}
GIVEN = {"--checkpoint", "--model", "--embeddings", "--bin", "--root", "--list"}
"""Sources and inputs themselves."""


def options_of(command):
    """As they are spelled."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return [spelled for option in options for spelled in (*option.opts, *option.secondary_opts)]


def is_told(capsys, words, option):
    """Whether a command refuses an option, in one line and before anything else."""
    assert run(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return re.search(rf"{option}\b.*leave (it|them) out", said) is not None


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_applies_or_is_refused(here, capsys, command, source):
    options = [option for option in options_of(evaluate.commands[command]) if option not in GIVEN]
    assert {"--batch-size", "--views", "--json"} <= set(options)
    images = ["--images", "none"] if command == "all-pairs" and source in NETWORKS else []
    for option in options:
        value, sources = APPLIES.get(f"{command} {option}") or APPLIES[option]
        words = [
            "evaluate",
            command,
            *SOURCES[source],
            *COMMANDS[command],
            *images,
            option,
            *([value] if value else []),
        ]
        if option == "--channels":
            words += ["--mean", "0.5", "--scale", "0.5"] if source in MODELS else []
        assert is_told(capsys, words, option) == (source not in sources), option


FRAMING = {
    "--landmarks": ("p.txt", {"folder", "list", "records"}),
    "--detector": ("d.onnx", {"folder", "list", "records"}),
    "--resize": (None, {"folder", "list", "records", "bin"}),
    "--links": ("inside", {"folder"}),
}
IMAGES = {
    "folder": ["--images", "images"],
    "list": ["--images", "list.txt"],
    "records": ["--records", "images"],
    "bin": ["--bin", "images/0/b.png"],
}


@pytest.mark.parametrize("images", IMAGES)
def test_an_option_of_embed_applies_to_its_images_or_is_refused(here, capsys, images):
    (here / "images" / "0").mkdir(parents=True)
    (here / "images" / "0" / "b.png").write_bytes(encoded_image(0, 40, 30))
    (here / "list.txt").write_text("images/0/b.png\n")
    corner_model(here / "m.onnx")
    command = ["embed", "--model", "m.onnx", "--mean", "127.5", "--scale", "127.5", *IMAGES[images], "-o", "out.npy"]
    for option, (value, kinds) in FRAMING.items():
        words = [*command, option, *([value] if value else [])]
        assert is_told(capsys, words, option) == (images not in kinds), option
    others = {option for option, (_, sources) in APPLIES.items() if sources <= NETWORKS and sources != {CHECKPOINT}}
    assert set(options_of(embed)) == {
        *(others - {"--links"}),
        *FRAMING,
        "--checkpoint",
        "--model",
        "--images",
        "--records",
        "--bin",
        "--dropped",
        "-o",
        "--out",
    }


@pytest.mark.parametrize("sets", [["s.bin"], ["--ijb", "r"], ["s.bin", "--ijb", "r"]])
def test_an_option_of_check_applies_to_its_sets_or_is_refused(here, capsys, sets):
    for option, value, wanted in (
        ("--resize", [], "s.bin"),
        ("--quick", [], "--ijb"),
        ("--links", ["inside"], "--ijb"),
    ):
        assert is_told(capsys, ["evaluate", "check", *sets, option, *value], option) == (wanted not in sets), option


def test_a_batch_that_the_model_has_fixed_is_not_overruled(here, capsys):
    corner_model(here / "m.onnx", batch=4)
    command = ["evaluate", "pairs", "--model", "m.onnx", "--mean", "127.5", "--scale", "127.5", "--bin", "none.bin"]
    assert is_told(capsys, [*command, "--batch-size", "8"], "--batch-size")
    assert not is_told(capsys, [*command, "--batch-size", "4"], "--batch-size")
