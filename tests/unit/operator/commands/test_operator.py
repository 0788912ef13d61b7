"""What the process of the operator begins with."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from arcface_api.errors import InvalidInput
from arcface_operator.commands import operator as command
from arcface_operator.settings import Settings


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Those of open files, which the test may change."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def limit_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> int:
    seen = []

    async def run(*_: object) -> None:
        seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(command, "start_log", lambda _: None)
    result = CliRunner().invoke(command.operator, [])
    assert result.exit_code == 0, result.output
    return seen[0]


def test_as_many_files_may_be_open_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]
) -> None:
    _, hard = limits
    assert hard > 1024
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    assert limit_while_it_runs(monkeypatch) == min(hard, 65_536)


def test_a_limit_that_is_wider_already_is_left_alone(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]) -> None:
    soft, _ = limits
    monkeypatch.setattr(command, "MOST_FILES", soft - 1)
    assert limit_while_it_runs(monkeypatch) == soft


def test_numbers_of_settings_are_read_as_kubectl_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("settleSeconds: 5e-1\ntrainerImage: 2024-05-06\n")
    settings = command._read_settings(file)
    assert (settings.settle_seconds, settings.trainer_image) == (0.5, "2024-05-06")
    file.write_text("# all as it is\n")
    assert command._read_settings(file) == Settings()


@pytest.mark.parametrize(
    "text", ["settleSeconds: !!int ''", f"settleSeconds: {'9' * 5000}", "[" * 5000, "? {a: b}\n: 1"]
)
def test_settings_that_are_no_yaml_of_plain_values_are_refused_in_a_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"settings\.yaml: not valid YAML: [^\n]+$"):
        command._read_settings(file)


@pytest.mark.parametrize("value", ["1e400", "1e300", "2147483648", "-1", ".nan", "soon"])
def test_seconds_that_no_clock_can_add_are_refused_in_a_line(tmp_path: Path, value: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"checkSeconds: {value}\n")
    with pytest.raises(InvalidInput) as refused:
        CliRunner().invoke(command.operator, [f"--settings={file}"], catch_exceptions=False)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{file}: ")
