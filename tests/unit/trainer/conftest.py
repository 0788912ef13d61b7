"""Fixtures of the trainer's tests."""

import pytest
from mindspore import GRAPH_MODE, PYNATIVE_MODE, set_context


@pytest.fixture
def graph_mode():
    """A whole step is a graph, in tests too."""
    set_context(mode=GRAPH_MODE)
    yield
    set_context(mode=PYNATIVE_MODE)
