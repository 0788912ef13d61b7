"""A page replaces the one before it with all of its plots, and nothing that is not its own."""

from arcface_evaluator.report.pages import page, plots


def written(folder, *captions, file="report.html", title="small"):
    drawn = [plots.Plot(caption, "<svg/>", f"{title} {caption} {number}".encode())
             for number, caption in enumerate(captions)]  # fmt: skip
    section = page.Section(title, [page.Table(("a",), [["1"]])], drawn)
    return page.Page(file=file, title="t", sections=[section], origins_title="o", origins=[]).write(folder)


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


def test_plots_of_an_earlier_page_go(tmp_path):
    written(tmp_path, "ROC", "folds")
    written(tmp_path, "DET")
    assert files_of(tmp_path) == ["report.html", "small-det.png"]


def test_files_of_others_stay(tmp_path):
    """Users' own, those that they have changed or copied, and those of another page in the folder."""
    written(tmp_path, "loss", file="history.html", title="course")
    written(tmp_path, "ROC", "folds", "DET")
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "copy.png").write_bytes((tmp_path / "small-roc.png").read_bytes())
    (tmp_path / "small-folds.png").write_bytes(b"changed")
    written(tmp_path, "scores")
    assert files_of(tmp_path) == [
        "copy.png", "course-loss.png", "history.html", "mine.png", "report.html", "small-folds.png", "small-scores.png"
    ]  # fmt: skip


def test_a_page_of_somebody_else_names_no_file_outside_of_its_folder(tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    (tmp_path / "victim.png").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    names = ("../victim.png", "..", ".", ".png", "a\0.png", str(tmp_path / "victim.png"))
    lines = "".join(f'<meta name="arcface-plot" content="{empty} {name}">' for name in names)
    (folder / "report.html").write_bytes(lines.encode() + b"\xff\x00")
    written(folder, "ROC")
    assert (tmp_path / "victim.png").is_file()


def test_plots_whose_names_come_to_the_same_have_files_of_their_own(tmp_path):
    written(tmp_path, "a b", "A-b", "a*b")
    found = {path.read_bytes() for path in tmp_path.glob("*.png")}
    assert found == {b"small a b 0", b"small A-b 1", b"small a*b 2"}


def test_pages_are_for_phones_and_for_light_and_dark(tmp_path):
    text = written(tmp_path, "ROC").read_text()
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    light, dark = text.partition("@media (prefers-color-scheme: dark)")[::2]
    for name in plots.LIGHT:
        assert f"--{name}: {plots.LIGHT[name]};" in light
        assert f"--{name}: {plots.DARK[name]};" in dark
