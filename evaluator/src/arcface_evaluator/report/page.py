"""The page that people look at: one self-contained HTML file, and its plots as PNG beside it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arcface_api.errors import explained
from arcface_evaluator.report.entries import HardPairs

PLOT_SIZE = (6.4, 4.2)
"""Inches."""
DOTS_PER_INCH = 120


@dataclass(frozen=True, slots=True)
class Plot:
    """One image of the page."""

    caption: str
    png: bytes

    @property
    def base64(self) -> str:
        """For the page."""
        return base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True, slots=True)
class Section:
    """A table, what is to be said of it, and plots."""

    title: str
    headings: Sequence[str]
    rows: list[list[str]]
    remark: str
    plots: list[Plot]
    hardest: Sequence[HardPairs] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run's numbers come from."""

    name: str
    facts: list[tuple[str, str]]
    inputs: list[object]
    """Files that were read, with `path` and `sha256`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is shown."""

    file: str
    """Its name in its folder."""
    title: str
    sections: list[Section]
    origins_title: str
    origins: list[Origin]

    def write(self, directory: Path) -> Path:
        """Write it and its plots into a folder, which is made; the path of the page."""
        template = Environment(autoescape=True).from_string((files(__package__) / "page.html").read_text("utf-8"))
        text = template.render(page=self)
        with explained(f"--report {directory}", "cannot be written", "name another folder"):
            directory.mkdir(parents=True, exist_ok=True)
            for section in self.sections:
                for plot in section.plots:
                    (directory / f"{_file_stem(section.title, plot.caption)}.png").write_bytes(plot.png)
            (directory / self.file).write_text(text, encoding="utf-8")
        return directory / self.file


def _file_stem(title: str, caption: str) -> str:
    """Name of a plot's file."""
    words = f"{title} {caption}".lower()
    return "-".join("".join(letter if letter.isalnum() else " " for letter in words).split())


def empty_figure(across: str, up: str) -> tuple[Figure, Axes]:
    """A plot with its axes named."""
    figure = Figure(figsize=PLOT_SIZE, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def png_of(figure: Figure) -> bytes:
    """A plot that is finished; names from outside are text, whatever signs of formulas they hold."""
    for axes in figure.axes:
        legend = axes.get_legend()
        for text in (axes.xaxis.label, axes.yaxis.label, *([] if legend is None else legend.get_texts())):
            text.set_parse_math(False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
