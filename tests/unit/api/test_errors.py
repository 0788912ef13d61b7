"""Which errors of the system are worth another try."""

import errno
import os

import pytest

from arcface_api.errors import ArcFaceError, InvalidInput, explained


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
