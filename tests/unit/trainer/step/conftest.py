"""Steps are graphs, in tests too."""

import pytest
from mindspore import GRAPH_MODE, PYNATIVE_MODE, set_context


@pytest.fixture(autouse=True)
def graph_mode():
    set_context(mode=GRAPH_MODE)
    yield
    set_context(mode=PYNATIVE_MODE)
