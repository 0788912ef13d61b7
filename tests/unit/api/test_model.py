from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from arcface_api.errors import InvalidInput
from arcface_api.model import Model, field_path


class Shelf(Model):
    """A shelf."""

    wide_enough: bool
    """Whether the books fit."""
    bought: datetime | None = None
    """When it was bought."""
    weight: float = 1.0
    """Kilograms."""


def test_names_are_camel_case_outside():
    shelf = Shelf.from_json('{"wideEnough": true}', "shelf.json")
    assert shelf == Shelf(wide_enough=True)
    assert shelf.to_json() == '{"wideEnough":true,"weight":1.0}'


def test_the_source_and_every_wrong_field_are_named_in_one_line():
    with pytest.raises(InvalidInput) as refusal:
        Shelf.from_json('{"colour": "red"}', "shelf.json")
    assert str(refusal.value) == "shelf.json: wideEnough: required field is missing; colour: unknown field"
    assert refusal.value.exit_code == 2


def test_what_a_newer_program_of_ours_added_is_passed_over_and_nothing_else():
    assert Shelf.from_ours('{"wideEnough": true, "colour": "red"}', "shelf.json") == Shelf(wide_enough=True)
    with pytest.raises(InvalidInput, match=r"^shelf\.json: wideEnough: required field is missing$"):
        Shelf.from_ours('{"colour": "red"}', "shelf.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"wideEnough": 1}', '{"wideEnough": "true"}', b"\xff"])
def test_anything_else_than_the_object_is_refused_in_one_line(text):
    with pytest.raises(InvalidInput) as refusal:
        Shelf.from_json(text, "shelf.json")
    assert str(refusal.value).startswith("shelf.json: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(InvalidInput, match=r"shelf\.json: "):
        Shelf.from_json(f'{{"wideEnough": true, "weight": {number}}}', "shelf.json")


def test_times_are_read_from_json_with_their_zone():
    shelf = Shelf.from_json('{"wideEnough": true, "bought": "2026-11-24T12:00:00Z"}', "shelf.json")
    assert shelf.bought == datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_objects_are_frozen():
    with pytest.raises(ValidationError):
        Shelf(wide_enough=True).weight = 2.0


def test_paths_read_as_kubectl_prints_them():
    assert field_path(("spec", "evaluation", "sets", 2)) == "spec.evaluation.sets[2]"
    assert field_path(()) == "document"
