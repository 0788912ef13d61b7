import os
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from arcface_api import command
from arcface_api.errors import Diverged, ExitCode, InvalidInput, Stopped

ARCFACE = Path(sys.executable).with_name("arcface")


class Offered:
    """An entry point whose command does one thing."""

    def __init__(self, act):
        self.act = act
        self.seen = None

    def load(self):
        return self

    def main(self, args, prog_name):
        self.seen = (args, prog_name)
        return self.act()

    def get_short_help_str(self, limit=45):
        return "Does one thing."[:limit]


def fail_with(error):
    def act():
        raise error

    return Offered(act)


@pytest.fixture
def offer(monkeypatch):
    """Makes commands installed under these names."""

    def install(**commands):
        for name, offered in commands.items():
            offered.name = name
        groups = {command.GROUP: list(commands.values())}
        monkeypatch.setattr(command, "entry_points", lambda group: groups[group])

    return install


def test_the_rest_of_the_arguments_goes_to_the_subcommand(offer):
    offered = Offered(lambda: None)
    offer(train=offered)
    assert command.run(["train", "--config", "run.json"]) == 0
    assert offered.seen == (["--config", "run.json"], "arcface train")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(InvalidInput("job.yaml: spec.modle: unknown field"), 2, id="invalid input"),
        pytest.param(Diverged("the loss is nan at step 7"), 3, id="diverged"),
        pytest.param(Stopped("saved at step 7"), 143, id="stopped"),
    ],
)
def test_an_error_of_ours_is_one_line_and_its_exit_code(offer, capsys, error, code):
    offer(train=fail_with(error))
    assert command.run(["train"]) == code
    assert capsys.readouterr().err == f"arcface train: {error}\n"


def test_an_error_that_is_not_ours_is_not_hidden(offer):
    offer(train=fail_with(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        command.run(["train"])


def test_a_command_that_is_not_installed_is_named_with_those_that_are(offer, capsys):
    offer(run=Offered(lambda: None), plan=Offered(lambda: None))
    assert command.run(["rum"]) == ExitCode.INVALID_INPUT
    assert capsys.readouterr().err == "arcface: no command 'rum' here; installed: plan, run\n"


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help_lists_the_installed_commands(offer, capsys, argv):
    offer(run=Offered(lambda: None), validate=Offered(lambda: None))
    assert command.run(argv) == 0
    assert capsys.readouterr().out.splitlines()[4:] == ["  run       Does one thing.", "  validate  Does one thing."]


def test_help_is_shown_where_nothing_is_installed(offer, capsys):
    offer()
    assert command.run([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("installed", "revision", "line"),
    [
        pytest.param(
            {"arcface-api": "0.1.0", "mindspore": "2.10.0"},
            "1a2b3c4",
            "arcface 0.1.0, commit 1a2b3c4, Python 3.11.2, MindSpore 2.10.0",
            id="image of the trainer",
        ),
        pytest.param({"arcface-api": "0.1.0"}, "", "arcface 0.1.0, Python 3.11.2, no MindSpore", id="checkout"),
    ],
)
def test_the_version_is_all_that_a_report_must_name(offer, capsys, monkeypatch, installed, revision, line):
    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    offer()
    monkeypatch.setattr(command, "version", version)
    monkeypatch.setattr(command.platform, "python_version", lambda: "3.11.2")
    monkeypatch.setenv(command.REVISION, revision)
    assert command.run(["--version"]) == 0
    assert capsys.readouterr().out == f"{line}\n"


def test_the_script_passes_the_exit_status_on():
    ended = subprocess.run([ARCFACE, "no-such-command"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("arcface: no command 'no-such-command' here")


def test_a_name_that_is_no_text_is_printed_all_the_same():
    program = (
        "from os import fsdecode; from arcface_api import command;"
        "command.run = lambda _: print(fsdecode(b'a\\xff')); command.main()"
    )
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "a\\udcff\n", "")


def test_a_command_can_be_stopped_while_it_is_being_loaded(offer):
    class Slow(Offered):
        def load(self):
            with suppress(Exception):
                command._on_sigterm(15, None)

    offer(train=Slow(None))
    with pytest.raises(SystemExit) as caught:
        command.run(["train"])
    assert caught.value.code == 143
