"""A plot is drawn once: as an element that takes the colours of its page, and as an image."""

import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from arcface_evaluator.report.pages import plots

NAMES = ["_begun", "$\\odd_{$", "--><script>alert(1)</script>", "a & b"]


@pytest.fixture(scope="module")
def drawn():
    def paint(axes):
        for name, colour in zip(NAMES, plots.SERIES, strict=False):
            axes.plot([1, 2], [0.9981, 0.9982], color=colour, label=plots.legend_name(name))
        axes.legend()

    return plots.draw("odd", "across", "up", paint)


def test_every_colour_is_one_of_the_page(drawn):
    used = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn.svg))
    names = {f"var(--{name})" for name in plots.LIGHT}
    assert used - names <= {"none"}
    assert {"var(--ink)", "var(--muted)", *(f"var(--series-{number})" for number in range(len(NAMES)))} <= used


def test_names_are_text(drawn):
    element = ElementTree.fromstring(drawn.svg)
    texts = [text.strip() for text in element.itertext()]
    assert set(NAMES) <= set(texts)
    assert not [each for each in element.iter() if "script" in each.tag]


def test_axes_tell_whole_numbers(drawn):
    """Not 0.0001 beside a far corner that says +0.998."""
    numbers = re.findall(r">(0\.99\d+)<", drawn.svg)
    assert len(numbers) > 1


def test_elements_of_several_plots_do_not_share_names(drawn):
    other = plots.draw("other", "", "", lambda axes: axes.plot([1], [1], "o"))
    assert not set(re.findall(r' id="([^"]+)"', drawn.svg)) & set(re.findall(r' id="([^"]+)"', other.svg))


def test_the_image_is_in_light_colours(drawn):
    pixels = cv2.imdecode(np.frombuffer(drawn.png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (592, 864, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_colours_stand_for_one_another():
    assert plots.LIGHT.keys() == plots.DARK.keys()
    assert len(set(plots.LIGHT.values())) == len(plots.LIGHT)
