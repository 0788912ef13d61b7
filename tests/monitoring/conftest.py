"""promtool of Debian's package prometheus; where it cannot be had tests are skipped with the reason, in CI they fail."""

import os
import shutil

import pytest

from testbed.commands import TestbedError
from testbed.packages import PROMETHEUS, ensure_installed


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of the program."""
    try:
        ensure_installed(PROMETHEUS)
    except (TestbedError, OSError) as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    return shutil.which("promtool") or "/usr/bin/promtool"
