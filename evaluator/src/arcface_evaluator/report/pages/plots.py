"""Plots of the pages, in colours for light and for dark: drawn once, as SVG for the page and PNG beside it."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

SIZE = (5.4, 3.7)
"""Inches: at the width of a phone letters are still 9 pixels high."""
DOTS_PER_INCH = 160
LIGHT = {
    "ink": "#1c2024",
    "muted": "#60646c",
    "line": "#d9d9e0",
    "right": "#18794e",
    "wrong": "#c62a2f",
    "series-0": "#1f6feb",
    "series-1": "#d9480f",
    "series-2": "#2b8a3e",
    "series-3": "#862e9c",
    "series-4": "#0b7285",
    "series-5": "#a6790d",
}
"""Colours by the names that the page's style has for them. No two are the same: one stands for the other in an SVG."""
DARK = {
    "ink": "#edeef0",
    "muted": "#b0b4ba",
    "line": "#43484e",
    "right": "#3dd68c",
    "wrong": "#ff9592",
    "series-0": "#70b8ff",
    "series-1": "#ffa057",
    "series-2": "#71d083",
    "series-3": "#d19dff",
    "series-4": "#4ccce6",
    "series-5": "#f5d90a",
}
INK, MUTED, LINE, WRONG = LIGHT["ink"], LIGHT["muted"], LIGHT["line"], LIGHT["wrong"]
SERIES = [colour for name, colour in LIGHT.items() if name.startswith("series")]
STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names from outside hold whatever signs
}
_NAMES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
_COLOUR = re.compile(rf"(?<=[:] )({'|'.join(_NAMES)})(?=[;\"])")
_NOT_DRAWN = re.compile(r"\A.*?(?=<svg)|<!--.*?-->|(?<=<g) id=\"[^\"]*\"", re.DOTALL)
"""Declarations of a file of its own, remarks, and names of groups, which are the same in every plot."""
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True, slots=True)
class Plot:
    """One drawing."""

    caption: str
    svg: str
    """An element for the page, in the page's own colours."""
    png: bytes
    """The same in light colours."""


def draw(caption: str, across: str, up: str, paint: Callable[[Axes], object]) -> Plot:
    """A plot with its axes named.

    Args:
        caption: what it shows, of which the name of its file is made.
        across: name of the horizontal axis.
        up: name of the vertical one.
        paint: draws on the axes.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot(xlabel=across, ylabel=up)
        axes.set_axisbelow(True)
        axes.set_prop_cycle(color=SERIES)
        for axis in (axes.xaxis, axes.yaxis):
            # No "+0.998" in a corner that all numbers have to be added to.
            axis.set_major_formatter(ScalarFormatter(useOffset=False))
        paint(axes)
        return Plot(caption, *_drawn(figure))


def _drawn(figure: Figure) -> tuple[str, bytes]:
    """Element and image of a figure, by their canvases: `savefig` draws everything twice as often."""
    drawing, image = io.StringIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")  # everything has its place
    FigureCanvasAgg(figure).print_png(image)  # type: ignore[no-untyped-call]
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    FigureCanvasSVG(figure).print_svg(drawing, metadata=_NO_METADATA)  # type: ignore[no-untyped-call]
    return _element(drawing.getvalue()), image.getvalue()


def legend_name(name: str) -> str:
    """A name as legends take it: they leave out what begins with an underscore."""
    return f" {name}"


def _element(drawing: str) -> str:
    """What a file of SVG draws, for a page."""
    return _COLOUR.sub(lambda found: _NAMES[found[1]], _NOT_DRAWN.sub("", drawing))
