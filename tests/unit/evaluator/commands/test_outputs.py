"""Tables of a terminal: 80 columns, numbers whole, names from outside as they are."""

import re

import pytest
from rich.table import Table

from arcface_evaluator.commands.outputs import narrowed, print_table, text_of
from arcface_evaluator.metrics.paired import PairedTest
from arcface_evaluator.report.comparison import Comparison, comparison_table
from arcface_evaluator.report.search_entries import identification_table
from arcface_evaluator.report.searches import GalleryRates, IdentificationRates

TEST = PairedTest(6000, 123, 45, 1.3, (0.0093, 0.1168), 1.2e-09)


def compared(runs):
    names = [("agedb_30", "accuracy"), ("IJBC", "tar@1e-4")]
    return comparison_table([Comparison(*name, "a", run, TEST, has_persons=True) for name in names for run in runs])


def searched(dataset):
    rates = {"1": 0.98765, "5": 0.99, "10": 1.0}
    tpir = {"1e-1": 0.91234, "1e-2": 0.81234}
    gallery = GalleryRates(gallery="G1", enrolled=1772, mated=19593, non_mated=19593, matches=rates, tpir=tpir,
                           tpir_rank1=tpir, thresholds=tpir, unresolved=[])  # fmt: skip
    found = IdentificationRates(dataset=dataset, galleries=[gallery] * 2, matches=rates, tpir=tpir, tpir_rank1=tpir)
    return identification_table(found)


@pytest.mark.parametrize(
    ("table", "numbers"),
    [
        (compared(["b"]), ["+130.000", "+0.93", "+11.68", "123", "45", "<0.0002"]),
        (compared(["step-00180000", "r100-on-glint-step-00180000"]), ["+130.000", "+0.93 to +11.68", "<0.0002"]),
        (searched("IJBC"), ["19593", "98.77", "99.00", "100.00", "91.23", "81.23"]),
        (searched("a-set-of-somebody-with-a-long-name" * 3), ["19593", "98.77", "91.23"]),
    ],
    ids=["compare", "compare long names", "identify", "identify a long name"],
)
def test_tables_fit_80_columns_with_every_digit(table, numbers):
    lines = text_of(narrowed(table)).splitlines()
    assert max(map(len, lines)) <= 80
    rows = [set(re.split(r"\s{1,}", line)) for line in lines]
    for number in numbers:
        assert sum(set(number.split()) <= row for row in rows) >= 2, number


@pytest.mark.parametrize("name", ["faces", "a-training-of-somebody/with-a-long-name/" * 3], ids=["short", "long"])
@pytest.mark.parametrize("columns", [2, 9, 30])
def test_a_table_that_is_too_wide_becomes_several_with_every_digit(capsys, name, columns):
    table, numbers = Table(title="[a] course"), [f"0.{number:05}" for number in range(columns)]
    for heading in ("", *(f"accuracy {number}" for number in range(columns))):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row(name, *numbers)
    table.add_row("other", *numbers)
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert [cell for row in rows if row[0] == "other" for cell in row[1:]] == numbers
    first = [row[0] for row in rows if row[0] != "other"]
    assert name in "".join(first)


def test_only_numbers_make_a_table_wider():
    table = Table()
    for heading in ("", *(f"column {number}" for number in range(12))):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("a word " * 30, *["0.123456789"] * 12)
    lines = text_of(narrowed(table)).splitlines()
    assert "\n".join(lines).count("0.123456789") == 12
    assert max(map(len, lines)) < 12 * 12 + 12


def test_names_from_outside_are_text():
    table = Table(title="[bold]a[/bold]")
    table.add_column("[red]b")
    table.add_row(":smile: [/x]")
    shown = text_of(table)
    assert all(name in shown for name in ("[bold]a[/bold]", "[red]b", ":smile: [/x]"))
