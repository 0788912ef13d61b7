"""Two releases on one control plane: the one under test, and the one before it as it was built."""

from collections.abc import Iterator

import pytest

from support.processes.release import PREVIOUS, Release
from testbed.control_plane.cluster import ControlPlane


@pytest.fixture(scope="session")
def previous(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release before, with its rights."""
    with Release(tmp_path_factory.mktemp("releases") / "previous", PREVIOUS) as release:
        release.grant_rights(control_plane)
        yield release


@pytest.fixture(scope="session")
def present(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release under test, with its rights."""
    with Release(tmp_path_factory.mktemp("releases") / "present") as release:
        release.grant_rights(control_plane)
        yield release
