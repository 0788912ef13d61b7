"""The page that people look at: one self-contained HTML file, and its plots as PNG beside it."""

import hashlib
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from arcface_api.errors import explained
from arcface_evaluator.report.entries import HardPairs
from arcface_evaluator.report.pages import plots

_DRAWN = re.compile(r'<meta name="arcface-plot" content="([0-9a-f]{64}) ([^"/\\\0]+\.png)">')
"""How a page names the plots beside it, so that the next one in its place can remove those that it does not draw."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    remark: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Tables with what is to be said of them, and plots."""

    title: str
    tables: Sequence[Table]
    drawings: Sequence[plots.Plot] = ()
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
    facts: Sequence[tuple[str, str]] = ()
    """What is to be known before all else."""
    sections: Sequence[Section]
    origins_title: str
    origins: Sequence[Origin]
    themes: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"light": plots.LIGHT, "dark": plots.DARK})

    def write(self, directory: Path) -> Path:
        """Write it and its plots into a folder, which is made; the path of the page.

        Plots of the page that was there before go, as far as they are what it says of them; where there is no room for
        all of the new one, it stays.
        """
        drawn = self._files()
        hashes = {name: hashlib.sha256(png).hexdigest() for name, png in drawn.items()}
        template = Environment(autoescape=True).from_string((files(__package__) / "page.html").read_text("utf-8"))
        text, path = template.render(page=self, hashes=hashes), directory / self.file
        with explained(f"--report {directory}", "cannot be written", "name another folder"):
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".report-", dir=directory) as hidden:
                for name, content in {**drawn, self.file: text.encode()}.items():
                    Path(hidden, name).write_bytes(content)
                _remove_drawn(path)
                for name in (*drawn, self.file):
                    Path(hidden, name).rename(directory / name)
        return path

    def _files(self) -> dict[str, bytes]:
        """The plots by the names of their files, of which none is another's."""
        drawn: dict[str, bytes] = {}
        seen: Counter[str] = Counter()
        for section in self.sections:
            for plot in section.drawings:
                stem = _file_stem(section.title, plot.caption)
                seen[stem] += 1
                drawn[f"{stem}.png" if seen[stem] == 1 else f"{stem}-({seen[stem]}).png"] = plot.png
        return drawn


def _remove_drawn(page: Path) -> None:
    """Remove the plots that a page names, if there is one; what somebody has changed since is not ours any more."""
    if not page.is_file():
        return
    for sha256, name in _DRAWN.findall(page.read_bytes().decode("utf-8", "replace")):
        plot = page.with_name(name)
        if plot.is_file() and hashlib.sha256(plot.read_bytes()).hexdigest() == sha256:
            plot.unlink()


def _file_stem(title: str, caption: str) -> str:
    """Name of a plot's file, without signs that a page or a file system would mind."""
    words = f"{title} {caption}".lower()
    return "-".join("".join(letter if letter.isalnum() else " " for letter in words).split())
