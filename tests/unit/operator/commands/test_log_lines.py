"""The log as people and as collectors of logs read it."""

import json
import logging
import re
from collections.abc import Iterator

import pytest

from arcface_operator.commands.log_lines import start_log
from arcface_operator.settings import Settings

LOG = logging.getLogger("arcface_operator.test")


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for handler in handlers:  # `force` closes handlers, and pytest's are wanted later
        root.removeHandler(handler)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    start_log(Settings(log_format="json"))
    LOG.warning("two\nlines of %s, \x1b[31mred", "Größe")
    try:
        int("why")
    except ValueError:
        LOG.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert first == {
        "level": "warning",
        "logger": "arcface_operator.test",
        "message": "two\nlines of Größe, \x1b[31mred",
    }
    assert second["exception"].endswith("ValueError: invalid literal for int() with base 10: 'why'")


def test_text_is_the_default_and_the_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    start_log(Settings())
    LOG.debug("unseen")
    LOG.info("seen")
    start_log(Settings(log_level="debug"))
    LOG.debug("now")
    logging.getLogger("kopf.activities").info("every event")
    assert [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()] == [
        "INFO arcface_operator.test seen",
        "DEBUG arcface_operator.test now",
    ]
