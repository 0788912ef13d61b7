"""A gang of two pods whose launchers listen."""

import pytest

from support.builders.pod_memories import made_pod, network


@pytest.fixture
def gang(tmp_path):
    """Both pods, and another one for a rank: in the place of one that is lost, or of another job."""
    places = network()

    def another(rank, last, **fields):
        return made_pod(tmp_path, rank, f"{places}.{last}", f"{places}.1", **fields)

    return another(0, 1), another(2, 2), another
