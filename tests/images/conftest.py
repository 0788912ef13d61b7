"""The image builder, where this machine has or can get one; in CI it must."""

import os
from collections.abc import Iterator

import pytest

from testbed.images.builder import ImageBuilder, image_builder
from testbed.programs.commands import TestbedError


@pytest.fixture(scope="session")
def builder() -> Iterator[ImageBuilder]:
    """The builder with its base image."""
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("building images needs root")
    try:
        context = image_builder()
        made = context.__enter__()
    except TestbedError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    yield made
    context.__exit__(None, None, None)
