"""What the process of the operator begins with."""

import resource
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from arcface_operator.commands import operator as command


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
