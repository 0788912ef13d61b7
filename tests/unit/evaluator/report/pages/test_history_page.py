"""What the plots of a training's page show, before they are images."""

import pytest
from matplotlib.figure import Figure

from arcface_evaluator.report.history_table import read_histories
from arcface_evaluator.report.pages import history_page, plots
from support.builders.histories import figures, lines_of, write_history


@pytest.fixture
def legends(monkeypatch):
    """Names in the legends of the plots, each of which is drawn only as far as that."""
    seen = []

    def read_legend(caption, across, up, paint):
        axes = Figure().add_subplot()
        paint(axes)
        seen.append([text.get_text().strip() for text in axes.get_legend().get_texts()])
        return plots.Plot(caption, "", b"")

    monkeypatch.setattr(plots, "draw", read_legend)
    return seen


def test_every_training_has_its_name_in_each_legend(tmp_path, legends):
    """matplotlib leaves out what begins with an underscore."""
    folders = [write_history(tmp_path / name, lines_of("a", 0, 20)) for name in ("_first", "second")]
    history_page.write_page(tmp_path / "page", read_histories(folders))
    assert legends == [["_first", "second"]] * 7


def test_a_loss_beyond_all_measure_leaves_a_gap_and_a_page(tmp_path):
    huge = [*figures("a", 5, loss=1e308), *figures("a", 10, loss=-1e308), *figures("a", 15, loss=1.0)]
    folder = write_history(tmp_path / "faces", [*lines_of("a", 0, 0), *huge])
    assert history_page.write_page(tmp_path / "page", read_histories([folder])).is_file()
