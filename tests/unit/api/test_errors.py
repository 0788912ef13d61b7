"""Which errors of the system are worth another try."""

import errno
import os
from collections.abc import Callable

import pytest

from arcface_api import errors
from arcface_api.errors import ArcFaceError, InvalidInput, explained, persistently


def meet(number: int) -> ArcFaceError:
    with pytest.raises(ArcFaceError) as caught, explained("/data/a.rec", "cannot be read", "correct the path"):
        raise OSError(number, os.strerror(number))
    return caught.value


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ENOSPC", "EDQUOT", "ETIMEDOUT", "EMFILE", "ENOTCONN"])
def test_what_passes_is_worth_another_try(name: str) -> None:
    error = meet(getattr(errno, name))
    assert not isinstance(error, InvalidInput)
    assert str(error).startswith("/data/a.rec: cannot be read (")
    assert str(error).endswith("): this may pass, try again")


@pytest.mark.parametrize("name", ["ENOENT", "EACCES", "EISDIR", "ENOTDIR", "EROFS", "ELOOP", "ENAMETOOLONG", "EPERM"])
def test_what_lasts_names_the_remedy(name: str) -> None:
    error = meet(getattr(errno, name))
    assert isinstance(error, InvalidInput)
    assert str(error).endswith("): correct the path")


def test_an_error_without_a_number_lasts_and_keeps_its_words() -> None:
    with (
        pytest.raises(InvalidInput, match=r"^x: cannot be read \(odd\): do this$"),
        explained("x", "cannot be read", "do this"),
    ):
        raise OSError("odd")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that are waited, which nobody waits here."""
    waited: list[float] = []
    monkeypatch.setattr(errors, "sleep", waited.append)
    return waited


def read_after(*numbers: int) -> Callable[[], str]:
    """A read that fails so before it goes well."""
    left = list(numbers)

    def read() -> str:
        if left:
            number = left.pop(0)
            raise OSError(number, os.strerror(number))
        return "bytes"

    return read


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN])
def test_a_read_whose_error_passes_goes_on(pauses: list[float], number: int) -> None:
    assert persistently(read_after(number, number), "x", "cannot be read", "do this") == "bytes"
    assert pauses == list(errors.PAUSES[:2])


def test_an_error_that_does_not_pass_in_time_is_left_to_a_later_try(pauses: list[float]) -> None:
    with pytest.raises(ArcFaceError, match=r"^x: cannot be read \(.*\): this may pass, try again$") as caught:
        persistently(read_after(*[errno.EIO] * 9), "x", "cannot be read", "do this")
    assert not isinstance(caught.value, InvalidInput)
    assert pauses == list(errors.PAUSES)


@pytest.mark.parametrize("before", [0, 1])
def test_an_error_that_lasts_ends_the_tries(pauses: list[float], before: int) -> None:
    with pytest.raises(InvalidInput, match="do this"):
        persistently(read_after(*[errno.EIO] * before, errno.EACCES), "x", "cannot be read", "do this")
    assert len(pauses) == before


def test_a_name_from_outside_leaves_an_error_one_line_that_any_report_carries() -> None:
    error = InvalidInput(f"{os.fsdecode(b'/data/a%sb' % bytes([10, 0xFF, 27]))} Zoë 漢: does not decode")
    assert str(error) == r"/data/a\n\udcff\x1bb Zoë 漢: does not decode"
    assert str(error).encode()
