"""promtool for the tests of this folder."""

import pytest

from testbed.programs.binaries import binary


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of the program."""
    return str(binary("promtool"))
