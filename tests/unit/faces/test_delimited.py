"""Lists as spreadsheets and people write them: quotes as in RFC 4180."""

from pathlib import Path

import pytest

from arcface_api.errors import InvalidInput
from arcface_faces import delimited


def rows_of(*lines):
    return [row.fields for row in delimited.rows(Path("list.csv"), list(lines), lambda fields: len(fields) == 2)]


def test_quoted_fields_hold_separators_and_quotes():
    assert rows_of('"a, b.jpg",1', '"say ""c"".jpg",2') == [["a, b.jpg", "1"], ['say "c".jpg', "2"]]


def test_a_quote_within_a_name_is_a_letter():
    assert rows_of('6" plate.jpg,1') == [['6" plate.jpg', "1"]]


def test_a_quoted_field_keeps_its_ends_of_lines():
    assert rows_of('"a', 'b.jpg",1') == [["a\nb.jpg", "1"]]


def test_a_quote_without_an_end_is_refused_and_swallows_no_lines():
    with pytest.raises(InvalidInput, match=r"list\.csv line 3: is no CSV .*; look for quotes without an end"):
        rows_of("a.jpg,1", 'b.jpg,"2', "c.jpg,3")
